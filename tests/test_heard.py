"""What an engine remembers of sources: an edit made again encodes nothing and is the same to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sa3_daw.embedded
from sa3_daw import edits
from sa3_daw.generation import canvas
from sa3_daw.generation.edit_plan import plan_edit
from sa3_daw.generation.heard import Heard
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job, Region, TempoPoint
from tests.stored_sources import Audio, drain, put

RATE = 44100
JOB = Job("j", "drums", RATE, RATE, 1, (TempoPoint(0.0, 120.0),), steps=2, guidance_scale=1.0)
REGIONS = (Region(3 * RATE // 4, 5 * RATE // 4),)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(Path(next(iter(sa3_daw.embedded.__path__))) / "nano", "nano")


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often a source is really encoded."""
    counted: list[int] = []
    encode_frames = canvas.encode_frames

    def counting(*arguments: object) -> torch.Tensor:
        counted.append(1)
        return encode_frames(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(canvas, "encode_frames", counting)
    return counted


def noise(num_samples: int) -> Audio:
    return (0.1 * np.random.default_rng(0).standard_normal((2, num_samples))).astype(np.float32)


def test_an_edit_rolled_again_encodes_nothing(model: LoadedModel, tmp_path: Path, encodes: list[int]) -> None:
    store = SourceStore(tmp_path)
    job = edits.inpaint(JOB, put(tmp_path, noise(2 * RATE)), 2 * RATE, REGIONS)
    first = drain(run(job, model, store))
    assert len(encodes) == 1
    drain(run(replace(job, seed=2, prompt="bass"), model, store))
    again = drain(run(job, model, store))
    assert len(encodes) == 1
    assert np.array_equal(first.audio[0], again.audio[0])
    fresh = drain(run(job, model, SourceStore(tmp_path)))
    assert len(encodes) == 2
    assert np.array_equal(first.audio[0], fresh.audio[0])


def test_another_source_or_another_place_is_heard_anew(model: LoadedModel, tmp_path: Path, encodes: list[int]) -> None:
    store = SourceStore(tmp_path)
    job = edits.inpaint(JOB, put(tmp_path, noise(2 * RATE)), 2 * RATE, REGIONS)
    moved = replace(job, regions=(Region(RATE // 2, RATE),))
    other = edits.inpaint(JOB, put(tmp_path, -noise(2 * RATE)), 2 * RATE, REGIONS)
    for each in (job, moved, other):
        drain(run(each, model, store))
    assert len(encodes) == 3


def test_the_least_recently_used_goes_first(model: LoadedModel) -> None:
    heard = Heard(max_bytes=2 * 40)
    plans = [plan_edit(edits.inpaint(JOB, name, 2 * RATE, REGIONS), model.spec) for name in "abc"]
    made: list[int] = []

    def ask(index: int) -> None:
        def encode() -> torch.Tensor:
            made.append(index)
            return torch.zeros(10)

        heard.latents(plans[index], model.same, 0, 4, encode)

    for index in (0, 1, 0, 2, 0, 1):
        ask(index)
    assert made == [0, 1, 2, 1]
    assert heard.num_bytes == 80
