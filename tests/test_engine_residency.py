"""Which models stay in memory: the one used longest ago goes first, what is to be kept stays, memory comes back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.engine.residency import Residents
from sa3_daw.errors import UnknownModel
from sa3_daw.generation.events import Progress
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
    stages = [[event.stage for event in residents.run(job) if isinstance(event, Progress)] for _ in range(2)]
    assert stages[0][:2] == ["loading", "loading"] and "loading" not in stages[1]
    assert residents.models()[0].precision and residents.models()[0].num_bytes > 1 << 20


def test_an_unknown_model_changes_nothing(config: DaemonConfig) -> None:
    residents = Residents(config)
    with pytest.raises(UnknownModel):
        residents.load("none", 0.0)
    assert residents.models() == ()
