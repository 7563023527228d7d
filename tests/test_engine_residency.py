"""Which models stay in memory: the one used longest ago goes first, what is to be kept stays, memory comes back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import torch

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.engine.main import Stopped
from sa3_daw.engine.residency import Residents, look_nowhere
from sa3_daw.errors import InvalidField, UnknownModel, invalid
from sa3_daw.generation.events import AudioChunk, Event, Finished, Progress
from sa3_daw.generation.model import LoadedModel, load_model
from tests.running_daemon import a_job


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    """Return a configuration with three models of equal size, of which two fit into the budget."""
    for name in ("one", "two"):
        shutil.copytree(EMBEDDED / "nano", tmp_path / "models" / name)
    flags = {"runtime_dir": tmp_path, "data_dir": tmp_path, "models_dir": tmp_path / "models"}
    plain = load_config({**flags, "hub_cache_dir": tmp_path}, {"OMP_NUM_THREADS": "1"})
    probe = Residents(plain)
    probe.load("nano", 0.0)
    budget_mb = (5 * probe.models()[0].num_bytes // 2) >> 20
    return replace(plain, memory_budget_mb=budget_mb)


def names(residents: Residents) -> list[str]:
    return [model.name for model in residents.models()]


def test_the_model_used_longest_ago_makes_room(config: DaemonConfig) -> None:
    residents = Residents(config)
    for name in ("one", "two", "one", "nano"):
        residents.load(name, 0.0)
    assert names(residents) == ["one", "nano"]
    residents.unload("one")
    residents.unload("one")
    assert names(residents) == ["nano"]


def test_a_model_that_is_to_be_kept_stays_even_beyond_the_budget(config: DaemonConfig) -> None:
    residents = Residents(config)
    residents.load("one", keep_alive_seconds=3600)
    residents.load("two", keep_alive_seconds=0.0)
    residents.load("nano", 0.0)
    assert names(residents) == ["one", "nano"]


def test_a_job_announces_the_loading_of_its_model_once(config: DaemonConfig) -> None:
    residents = Residents(config)
    job = replace(a_job("steps", num_samples=4096), steps=1, guidance_scale=1.0, apg_scale=1.0, sampler="euler")
    job = replace(job, headroom_seconds=0.0)
    stages = [
        [event.stage for event in residents.run(job, look_nowhere) if isinstance(event, Progress)] for _ in range(2)
    ]
    assert stages[0][:2] == ["loading", "loading"] and "loading" not in stages[1]
    assert residents.models()[0].precision and residents.models()[0].num_bytes > 1 << 20


def test_a_job_may_be_stopped_within_a_step_and_the_next_one_is_the_same(config: DaemonConfig) -> None:
    residents = Residents(config)
    job = replace(a_job("stop", num_samples=8192), steps=2, sampler="euler")
    looks: list[int] = []
    whole = [event for event in residents.run(job, lambda: looks.append(1)) if isinstance(event, AudioChunk)]
    num_layers = residents._resident("nano").model.spec.dit.depth  # Each looked at in every step, the decoder's on top.
    assert len(looks) > 2 * num_layers
    for stop_at in (1, num_layers + 1, len(looks)):
        left = iter(range(stop_at - 1))

        def look(left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Stopped

        with pytest.raises(Stopped):
            list(residents.run(job, look))
    again = [event for event in residents.run(job, look_nowhere) if isinstance(event, AudioChunk)]
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(whole, again, strict=True))


def test_an_unknown_model_changes_nothing(config: DaemonConfig) -> None:
    residents = Residents(config)
    with pytest.raises(UnknownModel):
        residents.load("none", 0.0)
    assert residents.models() == ()


def test_a_job_that_runs_out_of_memory_gives_it_back_and_the_next_one_is_done(
    config: DaemonConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    residents, held = Residents(config), WeakSet[torch.Tensor]()
    job = replace(a_job("steps", num_samples=4096), steps=1, guidance_scale=1.0, apg_scale=1.0, sampler="euler")
    residents.load("nano", 0.0)

    def too_large(*arguments: object) -> Iterator[Event]:
        held.add(big := torch.ones(1 << 10))
        yield Progress("sampling", 0, 1)
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(big)} GiB")

    given_back: list[int] = []
    monkeypatch.setattr("sa3_daw.engine.residency.give_memory_back", lambda: given_back.append(len(held)))
    with monkeypatch.context() as patched:
        patched.setattr("sa3_daw.engine.residency.run", too_large)
        with pytest.raises(MemoryError, match="CUDA out of memory"):
            list(residents.run(job, look_nowhere))
    assert given_back == [0], "what the job held is free before memory is given back"
    assert isinstance(list(residents.run(job, look_nowhere))[-1], Finished)


def test_words_of_a_user_about_memory_are_no_want_of_it(config: DaemonConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> Iterator[Event]:
        yield Progress("sampling", 0, 1)
        raise invalid("adapters[0].name", "out of memory", "an adapter")

    residents = Residents(config)
    residents.load("nano", 0.0)
    monkeypatch.setattr("sa3_daw.engine.residency.run", refuse)
    with pytest.raises(InvalidField, match="out of memory"):
        list(residents.run(a_job("steps", num_samples=4096), look_nowhere))


def test_models_that_may_go_make_room_when_memory_runs_out(
    config: DaemonConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    residents = Residents(replace(config, memory_budget_mb=0))
    residents.load("one", keep_alive_seconds=3600)
    residents.load("two", 0.0)

    def only_one_fits(*arguments: object) -> LoadedModel:
        if len(residents.models()) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_model(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sa3_daw.engine.residency.load_model", only_one_fits)
    residents.load("nano", 0.0)
    assert names(residents) == ["one", "nano"]


def test_a_model_too_large_for_the_gpu_is_refused_and_ends_nothing(
    config: DaemonConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object) -> LoadedModel:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("sa3_daw.engine.residency.load_model", too_large)
    residents = Residents(replace(config, preload="nano"))
    residents.preload()
    with pytest.raises(torch.OutOfMemoryError):
        residents.load("nano", 0.0)
    assert residents.models() == ()


def test_a_lost_gpu_ends_the_process_so_that_the_daemon_starts_another(
    config: DaemonConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(*arguments: object) -> Iterator[Event]:
        yield Progress("sampling", 0, 1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    residents = Residents(config)
    monkeypatch.setattr("sa3_daw.engine.residency.run", faulty)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(residents.run(a_job("steps", num_samples=4096), look_nowhere))
    monkeypatch.setattr("sa3_daw.engine.residency.is_lost", lambda device: True)
    with pytest.raises(SystemExit, match="the GPU answers this process no longer: .*illegal memory access"):
        list(residents.run(a_job("steps", num_samples=4096), look_nowhere))
