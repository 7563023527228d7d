"""Several takes of one job: variations, drafts, best of several rolls, long clips, loudness, stretch, isolation."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

import sa3_daw.embedded
from sa3_daw.audio.loudness import loudness_lufs, true_peak_db
from sa3_daw.generation import finish, rolls
from sa3_daw.generation.events import AudioChunk, Progress, TakeMade
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_daw.take import BeatReport
from tests.stored_sources import drain

NANO = Path(sa3_daw.embedded.__file__).parent / "nano"
RATE = 44100

BATCHED = 1e-4
"""Largest difference, full scale 1, between a take of a batch and the same take alone: float32 rounding of
differently shaped matmuls, carried through the steps. Measured 3e-6 with nano in two steps."""


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(NANO, "nano")


def job(**changes: object) -> Job:
    base = Job(
        job_id="test", prompt="house drums", num_samples=2 * RATE, sample_rate=RATE, seed=5,
        tempo_map=(TempoPoint(0.0, 120.0),), steps=2, guidance_scale=1.0,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", ["euler", "pingpong"])
def test_variations_in_a_batch_are_the_takes_of_their_seeds(model: LoadedModel, sampler: str) -> None:
    together = drain(run(job(num_variations=3, sampler=sampler, guidance_scale=2.0), model))
    assert [(take.variation, take.seed) for take in together.takes] == [(0, 5), (1, 6), (2, 7)]
    for variation, seed in enumerate((5, 6, 7)):
        alone = drain(run(job(seed=seed, sampler=sampler, guidance_scale=2.0), model)).audio[0]
        assert np.abs(together.audio[variation] - alone).max() < BATCHED
    assert together.progress[-1] == ("sampling", 2, 2), "one batch"


def test_takes_follow_one_another_each_with_its_report(model: LoadedModel) -> None:
    marks = [
        (type(event).__name__, event.variation)
        for event in run(job(num_variations=2), model)
        if isinstance(event, AudioChunk | TakeMade)
    ]
    assert marks == sorted(marks, key=lambda mark: (mark[1], mark[0]))
    assert [mark for mark in marks if mark[0] == "TakeMade"] == [("TakeMade", 0), ("TakeMade", 1)]


def test_more_variations_than_fit_a_batch_come_in_several(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drain(run(job(num_variations=3), model))
    monkeypatch.setattr(rolls, "BATCH_FRAMES", 100)
    parts = drain(run(job(num_variations=3), model))
    assert parts.progress[-1] == ("sampling", 4, 4)
    assert all(np.abs(whole.audio[index] - parts.audio[index]).max() < BATCHED for index in range(3))


def test_a_draft_comes_early_and_sounds_like_the_take(model: LoadedModel) -> None:
    events = list(run(job(draft=True, steps=8, num_variations=2), model))
    kinds = [event.draft if isinstance(event, AudioChunk) else event for event in events]
    first_draft = kinds.index(True)
    steps_before = sum(isinstance(event, Progress) and event.stage == "sampling" for event in events[:first_draft])
    assert steps_before == 5
    done = drain(events)
    assert done.drafts[1].shape == done.audio[1].shape == (2, 2 * RATE)
    plain = drain(run(job(steps=8, num_variations=2), model))
    assert np.array_equal(done.audio[0], plain.audio[0]), "a draft changes nothing"
    assert not plain.drafts


def test_the_best_roll_is_a_take_of_its_own_seed(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.9, 0.5, 0.8, 0.2, 0.3])
    monkeypatch.setattr("sa3_daw.generation.studio.beat_score", lambda *_: next(scores))
    done = drain(run(job(best_of=3, num_variations=2), model))
    assert [take.seed for take in done.takes] == [5 + 2, 6]
    alone = drain(run(job(seed=7), model)).audio[0]
    assert np.abs(done.audio[0] - alone).max() < BATCHED


def test_rolls_count_up_from_the_seed_without_meeting() -> None:
    made = rolls.rolls_of(job(best_of=3, num_variations=4))
    assert sorted(roll.seed for roll in made) == list(range(5, 17))
    assert [roll.seed for roll in made if roll.attempt == 0] == [5, 6, 7, 8]


def test_best_of_more_rolls_lies_better_on_the_beat(model: LoadedModel) -> None:
    asked = job(prompt="closed hi-hats", steps=6, guidance_scale=3.0, num_samples=3 * RATE)
    scores = [rolls.beat_score(asked, [drain(run(replace(asked, best_of=best), model)).audio[0]]) for best in (1, 4)]
    assert scores[1] >= scores[0]


def test_a_clip_longer_than_the_model_is_announced_and_chained(model: LoadedModel) -> None:
    short = replace(model, spec=replace(model.spec, max_num_samples=3 * RATE))
    events = list(run(job(num_samples=7 * RATE + 1, steps=4), short))
    stages = [event for event in events if isinstance(event, Progress) and event.stage == "windows"]
    total = stages[0].num_steps
    assert [event.step for event in stages] == list(range(total + 1)) and total >= 3
    sampled = next(i for i, event in enumerate(events) if isinstance(event, Progress) and event.stage == "sampling")
    assert events.index(stages[0]) < sampled
    first_chunk = next(i for i, event in enumerate(events) if isinstance(event, AudioChunk))
    assert first_chunk < events.index(stages[2]), "the first window can be heard before the second is made"
    done = drain(events)
    assert done.audio[0].shape == (2, 7 * RATE + 1) and done.takes[0].seam_db is not None
    assert done.progress[-1][1] == done.progress[-1][2] or done.progress[-1][0] == "windows"


def test_chained_windows_come_out_as_one_decode(model: LoadedModel) -> None:
    """Handing out window by window changes no sample beyond the resampler's rounding."""
    short = replace(model, spec=replace(model.spec, max_num_samples=3 * RATE))
    for rate, tolerance in ((44100, 1e-6), (48000, 1e-5)):
        asked = job(num_samples=6 * rate, sample_rate=rate)
        streamed = drain(run(asked, short)).audio[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sa3_daw.generation.studio.beat_score", lambda *_: 0.0)
            at_once = drain(run(replace(asked, best_of=2), short)).audio[0]
        assert np.abs(streamed - at_once).max() < tolerance


def test_a_loudness_target_is_met_below_the_ceiling(model: LoadedModel) -> None:
    quiet = drain(run(job(loudness_lufs=-30.0, steps=6), model))
    assert loudness_lufs(quiet.audio[0], RATE) == pytest.approx(-30.0, abs=0.05)
    assert quiet.takes[0].loudness_lufs == pytest.approx(-30.0, abs=0.05)
    loud = drain(run(job(loudness_lufs=-3.0, steps=6), model))
    assert true_peak_db(loud.audio[0], RATE) == pytest.approx(finish.CEILING_DBTP, abs=0.05)


def test_a_stretch_is_declared_small_and_keeps_the_length(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = drain(run(job(warp=True), model))
    assert plain.takes[0].stretch == 1.0 or abs(plain.takes[0].stretch - 1) <= 0.02
    for bpm, expected in ((121.2, 1.01), (118.0, 118 / 120), (124.0, 1.0)):
        monkeypatch.setattr(finish, "measure_beats", lambda *_, bpm=bpm: BeatReport(bpm, 0.0, 0.9))
        done = drain(run(job(warp=True), model))
        assert done.takes[0].stretch == pytest.approx(expected) and done.audio[0].shape == (2, 2 * RATE)


def test_interleaved_jobs_do_not_disturb_each_other(model: LoadedModel) -> None:
    jobs = (job(), job(seed=9, prompt="warm pads", steps=3, num_variations=2))
    alone = [drain(run(each, model)) for each in jobs]
    together: tuple[list[object], list[object]] = ([], [])
    for pair in zip_longest(*(run(each, model) for each in jobs)):
        for events, event in zip(together, pair, strict=True):
            if event is not None:
                events.append(event)
    for before, events in zip(alone, together, strict=True):
        after = drain(events)  # type: ignore[arg-type]
        assert all(np.array_equal(before.audio[index], after.audio[index]) for index in before.audio)


def test_every_take_is_measured(model: LoadedModel) -> None:
    take = drain(run(job(num_samples=4 * RATE, steps=12, guidance_scale=3.0), model)).takes[0]
    assert take.beats is not None and take.beats.bpm == pytest.approx(120, rel=0.01)
    assert abs(take.beats.phase_error_seconds) < 0.02 and take.beats.confidence > 0.5
    assert take.key is not None and take.loudness_lufs is not None and take.rms_db < take.peak_db <= 6


@pytest.mark.parametrize("sampler", ["rk4", "dpmpp", "pingpong"])
def test_every_sampler_makes_another_take(model: LoadedModel, sampler: str) -> None:
    default = drain(run(job(steps=3), model)).audio[0]
    other = drain(run(job(steps=3, sampler=sampler), model)).audio[0]
    assert not np.allclose(default, other, atol=1e-3)
    assert 0.3 < other.std() / default.std() < 2, "as loud as the default's"
