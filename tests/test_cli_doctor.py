"""`doctor` on machines that are broken on purpose: each fault is found, named and comes with its mend."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.cli import doctor, main
from sa3_daw.cli.doctor import BROKEN, GOOD, NOTE, Finding
from sa3_daw.config import DaemonConfig, load_config
from tests.running_daemon import RunningDaemon, environment

Check = Callable[[DaemonConfig], Iterator[Finding]]


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    return load_config({}, environment(tmp_path / "run"))


def found(check: Check, config: DaemonConfig, state: str) -> Finding:
    """Return the one finding in that state."""
    (finding,) = [finding for finding in check(config) if finding.state == state]
    assert finding.mend or state == GOOD
    return finding


def test_a_healthy_machine_has_nothing_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, text in environment(tmp_path / "run").items():
        monkeypatch.setenv(key, text)
    assert main(["doctor", "--json"]) == 0
    findings = [Finding(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    words = " ".join(finding.what for finding in findings)
    assert all(word in words for word in ("packages", "torch", "runtime folder", "CURVE", "free", "nano", "no daemon"))
    assert BROKEN not in {finding.state for finding in findings}


def test_a_misspelt_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SA3_PRELOUD", "nano")
    findings = list(doctor.findings())
    assert findings[-1].state == BROKEN and "preload" in findings[-1].what


def test_a_folder_that_is_a_file_and_one_open_to_others_are_found(config: DaemonConfig) -> None:
    config.data_dir.parent.mkdir(parents=True, exist_ok=True)
    config.data_dir.write_text("a file")
    assert "SA3_DATA_DIR" in found(doctor.folders, config, BROKEN).mend
    config.runtime_dir.mkdir(mode=0o755)
    assert "chmod 700" in found(doctor.folders, config, NOTE).mend


def test_a_full_disk_is_found(config: DaemonConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 60)
    assert "takes gc" in found(doctor.disk, config, BROKEN).mend


def test_an_incomplete_model_is_found(config: DaemonConfig) -> None:
    shutil.copytree(EMBEDDED / "nano", config.models_dir / "cut")
    shards = sorted((config.models_dir / "cut").glob("*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:1000])
    assert "model cut" in found(doctor.models, config, BROKEN).what
    shards[0].unlink()
    assert "lacks a shard" in found(doctor.models, config, BROKEN).what
    for shard in shards[1:]:
        shard.unlink()
    assert "no model.safetensors" in found(doctor.models, config, BROKEN).what


def test_a_daemon_that_runs_and_one_that_was_killed_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunningDaemon(tmp_path / "run") as daemon:
        for key, text in environment(daemon.runtime_dir).items():
            monkeypatch.setenv(key, text)
        assert "the daemon answers" in next(iter(doctor.daemon(load_config()))).what
        daemon.process.kill()
        daemon.process.wait()
        stale = found(doctor.daemon, load_config(), NOTE)
        assert "stale" in stale.what and "connection.json" in stale.mend


def test_torch_that_does_not_start_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "")
    (finding,) = doctor.device()
    assert finding.state == BROKEN and "reinstall torch" in finding.mend
