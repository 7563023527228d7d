"""Plans are arithmetic: pieces tile the clip, windows make every frame once, the joint of a loop is whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sa3_daw.embedded
from sa3_daw.edits import merged
from sa3_daw.errors import InvalidField
from sa3_daw.generation.edit_plan import cut_windows, joint_samples, plan_edit, plan_passes
from sa3_daw.job import Job, Region, Source, TempoPoint
from sa3_daw.models.specs import ModelSpec

SPEC = ModelSpec.from_directory(Path(sa3_daw.embedded.__file__).parent / "nano", "nano")
STORED = Source("0" * 64)


def job(**changes: object) -> Job:
    base = Job("test", "drums", 480_000, 48_000, 1, (TempoPoint(0.0, 120.0),))
    return replace(base, **changes)  # type: ignore[arg-type]


@st.composite
def edits(draw: st.DrawFn) -> Job:
    length = draw(st.integers(48_000, 10_000_000))
    cuts = sorted(draw(st.lists(st.integers(0, length), min_size=2, max_size=8, unique=True)))
    regions = tuple(Region(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False))
    rate = draw(st.sampled_from([44100, 48000, 96000]))
    return job(num_samples=length, sample_rate=rate, source=STORED, regions=regions, loop=draw(st.booleans()))


@settings(max_examples=200, deadline=None)
@given(edits())
def test_pieces_tile_the_clip_and_windows_make_every_frame_once(asked: Job) -> None:
    for plan in plan_passes(asked, SPEC):
        if plan is None:
            continue
        position = 0
        for piece in plan.pieces():
            assert piece.start == position < piece.end
            position = piece.end
        assert position == plan.num_samples
        made = [span for window in plan.windows for span in window.made]
        assert all(before[1] <= after[0] for before, after in pairwise(made))
        for window in plan.windows:
            assert window.start % SPEC.same.frame_alignment == 0 <= window.start
            assert all(window.start <= first < last <= window.end for first, last in window.made)
        frames = {frame for first, last in made for frame in range(first, last)}
        for region in plan.regions:
            first, last = plan.grid.frames_of(
                plan.to_model(region.start_sample), plan.to_model(region.end_sample, up=True)
            )
            assert frames.issuperset(range(first, min(last, plan.grid.num_frames)))


@settings(max_examples=300, deadline=None)
@given(
    num_frames=st.integers(1, 3000),
    longest=st.integers(8, 400).map(lambda half: 2 * half),
    points=st.lists(st.integers(0, 3000), min_size=2, max_size=10, unique=True),
)
def test_windows_are_no_longer_than_the_model_and_miss_nothing(
    num_frames: int, longest: int, points: list[int]
) -> None:
    edges = sorted({min(point, num_frames) for point in points})
    wanted = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=False) if start < end]
    windows = list(cut_windows(wanted, num_frames, longest, 2))
    frames = [frame for window in windows for first, last in window.made for frame in range(first, last)]
    assert frames == [frame for start, end in wanted for frame in range(start, end)]
    assert all(window.end - window.start <= longest and window.end <= num_frames for window in windows)


def test_a_frame_starts_where_the_first_kept_range_ends_or_begins() -> None:
    for region in (Region(100_001, 200_000), Region(0, 100_001)):
        plan = plan_edit(job(source=STORED, regions=(region,)), SPEC)
        assert (plan.grid.lead_samples + plan.to_model(100_001)) % SPEC.samples_per_frame == 0


def test_a_region_shorter_than_a_frame_makes_a_frame() -> None:
    plan = plan_edit(job(source=STORED, regions=(Region(100_000, 100_001),)), SPEC)
    assert [last - first for window in plan.windows for first, last in window.made] == [1]


def test_a_loops_joint_is_one_region_in_work_time_and_two_in_clip_time() -> None:
    asked = job(source=STORED, loop=True)
    plan, second = plan_passes(asked, SPEC)
    half = joint_samples(asked)
    assert second is None and len(plan.regions) == 1
    assert plan.changed() == (Region(0, half), Region(480_000 - half, 480_000))
    assert half == 24_000, "one beat at 120 BPM"


def test_a_loop_that_keeps_nothing_takes_two_passes() -> None:
    first, second = plan_passes(job(loop=True), SPEC)
    assert first.keeps_nothing and second is not None and len(second.regions) == 1


def test_headroom_is_made_only_where_the_clip_ends_in_something_made() -> None:
    spec = replace(SPEC, headroom_seconds=6.0)
    open_end = plan_edit(job(), spec).grid.num_frames
    assert plan_edit(job(headroom_seconds=0.0), spec).grid.num_frames < open_end
    assert plan_edit(job(headroom_seconds=12.0), spec).grid.num_frames > open_end
    kept_end = plan_edit(job(source=STORED, regions=(Region(1000, 9000),)), spec)
    assert kept_end.grid.num_frames <= plan_edit(job(headroom_seconds=0.0), spec).grid.num_frames + 2


@pytest.mark.parametrize("changes", [{"num_samples": 20_000, "loop": True}, {"warp": True, "loop": True}])
def test_what_a_loop_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        plan_passes(job(**changes), SPEC)


def test_regions_that_touch_are_one() -> None:
    regions = (Region(5, 9), Region(0, 3), Region(9, 12), Region(2, 4))
    assert merged(regions) == (Region(0, 4), Region(5, 12))
