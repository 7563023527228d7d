"""One request in a straight line, on the real embedded model: exact lengths, determinism, cancelling, timing marks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sa3_daw.embedded
from sa3_daw.audio.resample import covering_samples
from sa3_daw.errors import BadOutput
from sa3_daw.generation.events import AudioChunk, Event, Finished, Progress
from sa3_daw.generation.latent_grid import LatentGrid
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.specs import ModelSpec

NANO = Path(sa3_daw.embedded.__file__).parent / "nano"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(NANO, "nano")


def job(**changes: object) -> Job:
    base = Job(
        job_id="test", prompt="house drums and bass", num_samples=60_000, sample_rate=44100, seed=1,
        tempo_map=(TempoPoint(0.0, 127.5),), steps=2, guidance_scale=1.0,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def audio(events: Iterator[Event]) -> np.ndarray:
    return np.concatenate([event.samples for event in events if isinstance(event, AudioChunk)], axis=1)


@pytest.mark.parametrize(
    ("sample_rate", "num_samples"),
    [(44100, 1), (44100, 2047), (44100, 2049), (48000, 48_001), (88200, 99_999), (96000, 3), (192000, 200_003)],
)
def test_exactly_the_asked_samples_come_in_order(model: LoadedModel, sample_rate: int, num_samples: int) -> None:
    events = list(run(job(sample_rate=sample_rate, num_samples=num_samples, steps=1), model))
    position = 0
    for event in events:
        if isinstance(event, AudioChunk):
            assert event.start_sample == position and event.samples.dtype == np.float32
            position += event.samples.shape[1]
    assert position == num_samples
    assert isinstance(events[-1], Finished) and events[-1].num_samples == num_samples
    assert sum(isinstance(event, Finished) for event in events) == 1


def test_the_same_job_gives_the_same_samples_and_another_seed_others(model: LoadedModel) -> None:
    first, second = (audio(run(job(), model)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, audio(run(job(seed=2), model)))


def test_noise_comes_from_the_seed_alone(model: LoadedModel) -> None:
    torch.manual_seed(1)
    first = audio(run(job(), model))
    torch.manual_seed(2)
    assert np.array_equal(first, audio(run(job(), model)))


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "warm pad chords"},
        {"tempo_map": (TempoPoint(0.0, 90.0),)},
        {"tempo_map": (TempoPoint(0.0, 127.5, 7, 8),)},
        {"start_sample": 11_025},
        {"steps": 3},
        {"guidance_scale": 4.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_musical_field_changes_the_result(model: LoadedModel, changes: dict[str, object]) -> None:
    assert not np.allclose(audio(run(job(), model)), audio(run(job(**changes), model)), atol=1e-4)


def test_a_negative_prompt_acts_through_guidance(model: LoadedModel) -> None:
    plain = audio(run(job(guidance_scale=4.0), model))
    assert not np.allclose(plain, audio(run(job(guidance_scale=4.0, negative_prompt="hats"), model)), atol=1e-4)


def test_progress_tells_every_stage_before_the_first_audio(model: LoadedModel) -> None:
    events = list(run(job(steps=3), model))
    first_audio = next(index for index, event in enumerate(events) if isinstance(event, AudioChunk))
    marks = [(event.stage, event.step, event.num_steps) for event in events[:first_audio]]  # type: ignore[union-attr]
    assert marks[0] == ("conditioning", 0, 1)
    assert [mark for mark in marks if mark[0] == "sampling"] == [("sampling", step, 3) for step in (1, 2, 3)]
    assert not any(isinstance(event, Progress) and event.stage == "sampling" for event in events[first_audio:])


def test_closing_the_events_stops_the_work(model: LoadedModel) -> None:
    calls = 0

    def counted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.zeros(1, model.spec.dit.latent_dim, 8)

    counting = replace(model, graphed=GraphedDiT(_Counting(model, counted)))  # type: ignore[arg-type]
    events = run(job(steps=50), counting)
    while not (isinstance(event := next(events), Progress) and event.stage == "sampling"):
        pass
    events.close()  # type: ignore[attr-defined]
    assert calls == 1


class _Counting:
    """A DiT whose velocity is counted; stands in only to see that no further step runs."""

    def __init__(self, model: LoadedModel, velocity: object) -> None:
        self.prepare, self.device = model.dit.prepare, model.dit.device
        self._velocity = velocity

    def __call__(self, x: torch.Tensor, *args: object) -> torch.Tensor:
        self._velocity()  # type: ignore[operator]
        return torch.zeros_like(x)


def test_latents_that_explode_are_refused_before_any_audio(model: LoadedModel) -> None:
    class Exploding(_Counting):
        def __call__(self, x: torch.Tensor, *args: object) -> torch.Tensor:
            return x * float("nan")

    broken = replace(model, graphed=GraphedDiT(Exploding(model, None)))  # type: ignore[arg-type]
    events: list[Event] = []
    with pytest.raises(BadOutput, match="seed 1"):
        events.extend(run(job(), broken))
    assert not any(isinstance(event, AudioChunk) for event in events)


@settings(max_examples=500, deadline=None)
@given(
    num_samples=st.integers(1, 60_000_000),
    sample_rate=st.sampled_from([44100, 48000, 88200, 96000, 192000]),
    form=st.sampled_from(["nano", "published"]),
)
def test_the_grid_covers_the_clip_with_aligned_frames(num_samples: int, sample_rate: int, form: str) -> None:
    spec = ModelSpec.from_directory(NANO, "nano")
    if form == "published":
        stage = replace(spec.same.decoder, lapped=False, chunk_patches=32, stride=16)
        spec = replace(spec, headroom_seconds=6.0, same=replace(spec.same, encoder=stage, decoder=stage))
    needed = covering_samples(num_samples, sample_rate, spec.sample_rate)
    grid = LatentGrid.covering(needed, spec)
    assert grid.num_frames % spec.same.frame_alignment == 0
    assert grid.lead_samples % spec.samples_per_frame == 0
    first, end = grid.frames_of(0, needed)
    assert first * spec.samples_per_frame <= grid.lead_samples
    assert grid.lead_samples + needed <= end * spec.samples_per_frame
    assert end <= grid.num_frames
