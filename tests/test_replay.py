"""`sa3-daw replay`: a real daemon's own log made again and compared with its takes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa3_daw import __version__, edits
from sa3_daw.catalogue import EMBEDDED
from sa3_daw.config import ENGINE_COMMAND
from sa3_daw.errors import InvalidField
from sa3_daw.generation.model import load_model
from sa3_daw.job import AdapterUse, Region
from sa3_daw.render.replay import read_log, told_difference
from tests.running_daemon import PATIENCE_SECONDS, RunningDaemon, a_job, data_dir, environment
from tests.test_adapters import write_adapter


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """Run a daemon that has made two jobs, one of them with two variations."""
    with RunningDaemon(tmp_path_factory.mktemp("replay") / "run") as running, running.client() as client:
        client.generate(a_job("one"))
        client.generate(replace(a_job("two"), num_variations=2, draft=True))
        yield running


def run(daemon: RunningDaemon, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sa3_daw", "replay", *map(str, words)]
    env = environment(daemon.runtime_dir)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def saved_log(daemon: RunningDaemon, path: Path) -> list[str]:
    """Copy the log, which the replay itself goes on with; return its lines."""
    text = (data_dir(daemon.runtime_dir) / "log" / "requests.jsonl").read_text()
    path.write_text(text)
    return text.splitlines()


def test_every_logged_take_comes_back_bit_identical_and_is_not_kept_twice(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    saved_log(daemon, log)
    with daemon.client() as client:
        before = client.list_takes()
        done = run(daemon, log, "--json")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["variation"], line["identical"]) for line in lines] == [(0, True), (0, True), (1, True)]
        assert {line["take_id"] for line in lines} == {take.take_id for take in before}
        assert client.list_takes() == before
        assert client.get_audio(before[0].audio).shape == (2, 8192)


def test_a_take_that_differs_is_said_and_fails(daemon: RunningDaemon, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    accepted = json.loads(saved_log(daemon, log)[0])
    accepted["job"]["seed"] += 1
    log.write_text(json.dumps(accepted) + "\n")
    done = run(daemon, log)
    assert done.returncode == 1
    assert re.search(r"DIFFERENT from take \S+ from sample \d+ on, by -?\d+ dBFS at most\n", done.stdout), done.stdout


def test_a_difference_is_told_by_place_level_and_version() -> None:
    stored = np.zeros((2, 100), np.float32)
    made = stored.copy()
    made[1, 40:] = 0.001
    assert told_difference(made, stored, __version__) == "from sample 40 on, by -60 dBFS at most"
    made[1, 40:] = -0.0
    assert told_difference(made, stored, __version__) == "from sample 40 on, by the sign of zeros alone"
    told = told_difference(made[:, :90], stored, "0.0.1")
    assert told == f"90 samples instead of 100; it was made by sa3-daw 0.0.1, this is {__version__}"


def test_edits_rolls_drafts_and_adapters_of_the_real_model_come_back_bit_identical(tmp_path: Path) -> None:
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    write_adapter(adapters / "style.safetensors", load_model(EMBEDDED / "nano", "nano"), "lora")
    command = shlex.join(ENGINE_COMMAND)
    with (
        RunningDaemon(tmp_path / "run", SA3_ENGINE_COMMAND=command, SA3_ADAPTERS_DIR=str(adapters)) as daemon,
        daemon.client() as client,
    ):
        first = replace(a_job("house drums", 24_000), num_variations=2, best_of=2, draft=True, loudness_lufs=-20.0)
        source = client.put_audio(client.generate(first).samples)
        client.generate(edits.inpaint(a_job("drum fill", 24_000), source, 24_000, [Region(8_000, 16_000)]))
        client.generate(edits.continue_after(a_job("more", 24_000), source, 24_000, 8_000))
        client.generate(edits.restyle(a_job("techno", 24_000), source, 24_000, 0.5))
        client.generate(edits.loop(a_job("loop", 24_000), source, 24_000))
        client.generate(replace(a_job("pads", 24_000), adapters=(AdapterUse("style", 0.02),)))
        num_takes = len(client.list_takes())
        done = run(daemon, data_dir(daemon.runtime_dir) / "log" / "requests.jsonl", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [json.loads(line)["identical"] for line in done.stdout.splitlines()] == [True] * num_takes == [True] * 7


def test_a_job_that_fails_does_not_stop_the_rest(daemon: RunningDaemon, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    accepted = json.loads(saved_log(daemon, log)[0])
    failing = {**accepted, "job": {**accepted["job"], "job_id": "other", "prompt": "fail=bad_output"}}
    log.write_text(json.dumps(failing) + "\n" + json.dumps(accepted) + '\n{"event": "acc')
    done = run(daemon, log)
    assert done.returncode == 1
    assert "job other: failed: failed as asked" in done.stdout and "1 takes bit-identical" in done.stdout


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b'{"event": "accepted", "job": 1}\n{"event": "ended"}\n', b'{"event": "\xff"}\n']
)
def test_what_is_no_request_log_is_refused(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "requests.jsonl"
    log.write_bytes(content)
    with pytest.raises(InvalidField):
        read_log(log)
