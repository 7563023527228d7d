"""Which samples of a clip are made, which are kept, and in which windows the model makes them. Pure arithmetic.

Knows no audio and no tensor. Two times: clip time is the job's; work time is clip time turned by ``rotation``,
so that the joint of a loop lies in its middle. Both count samples at the job's rate; ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from sa3_daw.audio.resample import covering_samples
from sa3_daw.edits import check_combination, merged
from sa3_daw.generation.latent_grid import LatentGrid
from sa3_daw.job import Job, Region, Source
from sa3_daw.models.specs import ModelSpec
from sa3_daw.music.timeline import TempoMap

MAX_STRETCH = 0.02
"""Largest time-stretch that ``warp`` may use; a clip to be stretched is made this much longer."""

JOINT_SECONDS = (0.25, 1.0)
"""A loop's joint is made anew one beat to each side of it, kept within these bounds."""

CONTEXT_SHARE = 4
"""A window that continues what is known sees it in this part of its frames: one in four."""


@dataclass(frozen=True)
class Window:
    """Frames [start, end) that the model sees at once, and the ranges among them that it makes."""

    start: int
    end: int
    made: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Piece:
    """A range of the clip in one piece: kept, or part of a region (given in work time)."""

    start: int
    end: int
    region: Region | None


@dataclass(frozen=True)
class EditPlan:
    """One pass over the clip. ``regions`` are in work time, in order, apart from one another."""

    job: Job
    spec: ModelSpec
    num_samples: int
    rotation: int
    regions: tuple[Region, ...]
    grid: LatentGrid
    windows: tuple[Window, ...]

    @property
    def keeps_nothing(self) -> bool:
        """The whole clip is made."""
        return self.regions == (Region(0, self.num_samples),)

    def to_model(self, work_sample: int, *, up: bool = False) -> int:
        """Return the model-rate sample at or before a work sample; at or after it when ``up``."""
        product = work_sample * self.spec.sample_rate
        return -(-product // self.job.sample_rate) if up else product // self.job.sample_rate

    def to_host(self, model_sample: int) -> int:
        """Return the last work sample that lies at or before a model-rate sample."""
        return model_sample * self.job.sample_rate // self.spec.sample_rate

    def clip_sample(self, work_sample: int) -> int:
        return (work_sample + self.rotation) % self.num_samples

    def has_edges(self, region: Region) -> tuple[bool, bool]:
        """Say whether kept samples lie before and after a region."""
        return region.start_sample > 0, region.end_sample < self.num_samples

    def changed(self) -> tuple[Region, ...]:
        """Return the regions in clip time; a loop's joint is two of them."""
        made = (piece for piece in self.pieces() if piece.region is not None)
        return tuple(Region(piece.start, piece.end) for piece in made)

    def pieces(self) -> Iterator[Piece]:
        """Yield the clip's pieces in clip time; together they are the clip."""
        spans: list[Piece] = []
        for region in self.regions:
            start, num_samples = self.clip_sample(region.start_sample), region.end_sample - region.start_sample
            end = min(start + num_samples, self.num_samples)
            spans.append(Piece(start, end, region))
            if end - start < num_samples:
                spans.append(Piece(0, num_samples - (end - start), region))
        position = 0
        for span in sorted(spans, key=lambda piece: piece.start):
            if position < span.start:
                yield Piece(position, span.start, None)
            yield span
            position = span.end
        if position < self.num_samples:
            yield Piece(position, self.num_samples, None)


def plan_edit(job: Job, spec: ModelSpec) -> EditPlan:
    """Plan one pass over the clip."""
    num_samples = job.num_samples
    if job.warp:
        num_samples = -(-num_samples * round(1000 * (1 + MAX_STRETCH)) // 1000)
    whole = Region(0, num_samples)
    regions = merged(job.regions) if job.source and job.regions else (whole,)
    rotation = 0
    if job.loop:
        rotation, regions = _with_joint(job, () if job.source and not job.regions else regions)
    return _on_grid(EditPlan(job, spec, num_samples, rotation, regions, LatentGrid(0, 0, 0, 1), ()))


def plan_passes(job: Job, spec: ModelSpec) -> tuple[EditPlan, EditPlan | None]:
    """Plan a job's one pass, or the two of a loop that keeps nothing. Raises InvalidField on what cannot be combined.

    Such a loop's clip is made first, then its joint, with that clip as the source.
    """
    check_combination(job)
    if not makes_joint_last(job):
        return plan_edit(job, spec), None
    joint = replace(job, source=Source(""), regions=(), noise_level=1.0, loudness_lufs=None)
    return plan_edit(replace(job, loop=False), spec), plan_edit(joint, spec)


def makes_joint_last(job: Job) -> bool:
    """Say whether a job is a loop that keeps nothing."""
    if not job.loop or (job.source and not job.regions):
        return False
    half = joint_samples(job)
    ends = (Region(0, half), Region(job.num_samples - half, job.num_samples))
    return not job.source or merged((*job.regions, *ends)) == (Region(0, job.num_samples),)


def joint_samples(job: Job) -> int:
    """Return how many samples on each side of a loop's joint are made anew."""
    tempo = TempoMap(job.tempo_map)
    end = tempo.ppq_at(Fraction(job.start_sample + job.num_samples - 1, job.sample_rate))
    point = tempo.point_at(end)
    beat_seconds = 60 / point.bpm * 4 / point.denominator
    low, high = JOINT_SECONDS
    return min(round(min(max(beat_seconds, low), high) * job.sample_rate), job.num_samples // 8)


def _with_joint(job: Job, regions: tuple[Region, ...]) -> tuple[int, tuple[Region, ...]]:
    """Return the rotation of a loop and its regions, the joint among them, in work time.

    The turn is made in the middle of the longest kept range, so no region is cut by it.
    """
    length, half = job.num_samples, joint_samples(job)
    made = merged((*regions, Region(0, half), Region(length - half, length)))
    kept = [(before.end_sample, after.start_sample) for before, after in pairwise(made)]
    start, end = max(kept, key=lambda span: span[1] - span[0])
    rotation = (start + end) // 2
    turned = (
        Region((region.start_sample - rotation) % length, (region.end_sample - 1 - rotation) % length + 1)
        for region in made
    )
    return rotation, merged(turned)


def _on_grid(plan: EditPlan) -> EditPlan:
    """Lay the latent grid and cut the frames to make into windows."""
    job, spec, regions = plan.job, plan.spec, plan.regions
    open_end = not job.loop and regions[-1].end_sample == plan.num_samples
    first_edge = next((region.start_sample for region in regions if region.start_sample > 0), None)
    first_edge = first_edge if first_edge is not None else regions[0].end_sample % plan.num_samples
    num_samples = covering_samples(plan.num_samples, job.sample_rate, spec.sample_rate)
    headroom = job.headroom_seconds if open_end else 0.0
    grid = LatentGrid.covering(num_samples, spec, headroom, plan.to_model(first_edge))
    to_make = []
    for region in regions:
        start, end = plan.to_model(region.start_sample), plan.to_model(region.end_sample, up=True)
        first, last = grid.frames_of(start, end)
        at_start, at_end = not job.loop and start == 0, open_end and region is regions[-1]
        to_make.append((0 if at_start else first, grid.num_frames if at_end else min(last, grid.num_frames)))
    longest = LatentGrid.covering(spec.max_num_samples, spec, 0.0).num_frames
    windows = tuple(cut_windows(_joined(to_make), grid.num_frames, longest, spec.same.frame_alignment))
    return replace(plan, grid=grid, windows=windows)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return frame ranges with those that share a frame or touch made one."""
    return [(region.start_sample, region.end_sample) for region in merged(Region(*each) for each in ranges)]


def cut_windows(to_make: list[tuple[int, int]], num_frames: int, longest: int, align: int) -> Iterator[Window]:
    """Yield windows of at most ``longest`` frames that make all ranges, each with what is known around it.

    What fits into one window is seen at once. A range too long for one window is made from its start on, each
    window continuing the one before; the last window is as long as the others, so it sees more of what is known.
    """
    context = longest // CONTEXT_SHARE // align * align
    pending = list(to_make)
    while pending:
        first, last = pending[0]
        if num_frames <= longest:
            start = 0
        elif last - first <= longest - 2 * context:
            start = first - (longest - (last - first)) // 2
        else:
            start = first - context
        start = max(0, min(start // align * align, -(-(num_frames - longest) // align) * align))
        end = min(start + longest, num_frames)
        if last > end:
            yield Window(start, end, ((first, end),))
            pending[0] = (end, last)
        else:
            inside = [span for span in pending if span[1] <= end]
            yield Window(start, end, tuple(inside))
            pending = pending[len(inside) :]
