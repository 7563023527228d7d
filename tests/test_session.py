"""The Python API against a real daemon, whose engine makes tones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sa3_daw.audio.files import read_wav
from sa3_daw.errors import InvalidField, RequestError
from sa3_daw.job import AdapterUse, TempoPoint
from sa3_daw.music.timeline import TempoMap
from sa3_daw.session import Clip, Session
from tests.running_daemon import RunningDaemon

BAR = 90353
"""Of 48 kHz at 127.5 BPM, 90352.94... rounded."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    runtime_dir = tmp_path_factory.mktemp("session") / "run"
    with RunningDaemon(runtime_dir) as daemon, daemon.client() as client:
        yield Session(bpm=127.5, meter="4/4", sample_rate=48_000, client=client)


@pytest.fixture(scope="module")
def clip(session: Session) -> Clip:
    return session.generate("house drums", bars=1, seed=1)


def test_a_bar_is_exact_and_the_clip_tells_what_made_it(clip: Clip) -> None:
    assert clip.samples.shape == (2, BAR)
    assert (clip.job.prompt, clip.job.seed, clip.sample_rate) == ("house drums", 1, 48_000)
    assert clip.take is not None and clip.take.take_id


def test_continuing_by_bars_tiles_the_bar_grid(session: Session, clip: Clip) -> None:
    longer = session.continue_after(clip, bars=1)
    assert longer.num_samples == session.tempo.bar_range_samples(0, 2, 48_000)[1] == 2 * BAR


def test_a_lead_in_ends_where_the_clip_starts(session: Session, clip: Clip) -> None:
    late = session.generate("late", samples=BAR, at="4bars", seed=2)
    led = session.continue_before(late, bars=1)
    assert (led.job.start_sample, led.num_samples) == (late.job.start_sample - BAR, 2 * BAR)
    assert led.job.source is not None and led.job.source.start_sample == BAR
    moved = session.continue_before(clip, samples=100)
    assert moved.job.start_sample == BAR - 100


def test_a_tempo_map_places_clips_and_adapters_reach_the_job(session: Session) -> None:
    tempo = TempoMap([TempoPoint(0.0, 120.0), TempoPoint(8.0, 60.0, 3, 4)])
    mapped = Session(tempo=tempo, sample_rate=48_000, adapters=["warmth:0.5"], client=session.client)
    assert mapped.job("x", 10).adapters == (AdapterUse("warmth", 0.5),)
    plain = Session(tempo=tempo, sample_rate=48_000, client=session.client)
    clip = plain.generate("slow", bars=1, at="2bars", seed=1)
    assert (clip.job.start_sample, clip.num_samples) == (4 * 48_000, 3 * 48_000)
    assert clip.job.tempo_map == tempo.points


def test_started_jobs_run_side_by_side(session: Session) -> None:
    with session.start(session.job("a", 4096, 1)) as first, session.start(session.job("b", 4096, 2)) as second:
        assert [clip.job.seed for running in (second, first) for clip in running.clips()] == [2, 1]
        assert first.finished is not None


def test_regions_are_samples_or_words(session: Session, clip: Clip) -> None:
    made = session.inpaint(clip, regions=["0.5:0.75bars", (100, 200)], prompt="fill", seed=3)
    ranges = [(region.start_sample, region.end_sample) for region in made.job.regions]
    assert ranges == [(100, 200), (45176, 67765)]
    assert made.job.source is not None and clip.take is not None and made.job.source.audio == clip.take.audio
    with pytest.raises(InvalidField):
        session.inpaint(clip, regions=[(0, BAR + 1)])


def test_restyle_and_loop_keep_length_and_prompt(session: Session, clip: Clip) -> None:
    for made in (session.restyle(clip, 0.5), session.loop(clip)):
        assert (made.num_samples, made.job.prompt) == (BAR, "house drums")


def test_a_saved_clip_opens_at_its_place(session: Session, clip: Clip, tmp_path: Path) -> None:
    clip.save(tmp_path / "clip.wav")
    samples, rate, recipe, _ = read_wav(tmp_path / "clip.wav")
    assert rate == 48_000 and recipe is not None and recipe["seed"] == 1
    np.testing.assert_array_equal(samples, clip.samples)
    again = session.open(tmp_path / "clip.wav", prompt="mine")
    assert session.loop(again).num_samples == BAR


def test_any_job_runs_and_its_variations_come_back(session: Session) -> None:
    job = replace(session.job("two", 4096, seed=5), num_variations=2)
    assert [clip.job.seed for clip in session.run(job)] == [5, 6]


def test_a_notebook_gets_a_player_and_a_picture(clip: Clip) -> None:
    page = clip._repr_html_()
    assert "data:audio/wav;base64," in page and "data:image/png;base64," in page


def test_exactly_one_length_is_wanted(session: Session) -> None:
    for lengths in ((None, None, None), (1, 1, None), (0, None, None)):
        with pytest.raises(InvalidField):
            session.length_samples(0, *lengths)


@pytest.mark.parametrize("length", [math.nan, math.inf, -math.inf, -1.0])
def test_a_length_that_is_none_is_named(session: Session, clip: Clip, length: float) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: session.generate("x", bars=length),
        lambda: session.generate("x", seconds=length),
        lambda: session.continue_before(clip, bars=length),
        lambda: session.continue_after(clip, seconds=length),
    )
    for make in calls:
        with pytest.raises(InvalidField, match="allowed:"):
            make()


@pytest.mark.parametrize("length", [10**400, Fraction(10**400)], ids=["whole", "fraction"])
def test_a_length_beyond_every_float_is_refused_as_any_that_is_too_long(
    session: Session, length: int | Fraction
) -> None:
    with pytest.raises(RequestError):
        session.generate("x", bars=length)
