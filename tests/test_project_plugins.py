"""Plugins that crash, hang, are missing or are none, and pedalboard's own effects. No daemon is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pedalboard
import pytest
import soundfile

from sa3_daw.render.project.chain_child import value_at
from sa3_daw.render.project.effects import BUILT_IN
from tests.projects import Projects, vst3

PROJECT = """
[project]
rate = 44100
length = 4410
[[track]]
name = "good"
[[track.clip]]
at = 0
kind = "file"
file = "in.wav"
[[track]]
name = "bad"
[[track.effect]]
use = "Gain"
[[track.effect]]
plugin = "bad.vst3"
[[output]]
of = "stems"
file = "{name}.wav"
"""


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Projects:
    soundfile.write(tmp_path / "in.wav", np.zeros((4410, 2)), 44100)
    return Projects(tmp_path, tmp_path / "nobody", monkeypatch)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("abort();", "crashed (SIGABRT)"),
        ("for (;;) pause();", "did not end within 4 s and was killed"),
        ("", "Failed to"),
    ],
    ids=["crash", "hang", "no plugin inside"],
)
def test_a_bad_plugin_is_named_and_the_rest_still_renders(
    projects: Projects, capsys: pytest.CaptureFixture[str], entry: str, words: str
) -> None:
    vst3(projects.folder, "bad.vst3", entry)
    started = monotonic()
    assert projects.render(PROJECT, "out", "--keep-going", "--effect-seconds", "4") == 1
    assert monotonic() - started < 30
    errors = capsys.readouterr().err
    assert "line 15: effect bad.vst3: " in errors and words in errors
    assert (projects.folder / "out" / "good.wav").is_file() and not (projects.folder / "out" / "bad.wav").exists()


def test_a_hanging_plugin_does_not_outlive_a_killed_run(projects: Projects) -> None:
    vst3(projects.folder, "bad.vst3", "for (;;) pause();")
    words = [str(projects.write(PROJECT)), "-o", str(projects.folder / "out")]
    command = [sys.executable, "-m", "sa3_daw", "render", *words]
    run = subprocess.Popen(command, env=projects.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    until(lambda: any((projects.folder / "out" / "cache").glob("*.status.part")))
    (child,) = children.read_text(encoding="ascii").split()
    run.kill()
    run.communicate()
    until(lambda: not is_at_work(child))


def is_at_work(pid: str) -> bool:
    """Tell whether a process lives; one that is dead and not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + 60
    while not is_so():
        assert monotonic() < deadline
        sleep(0.02)


def test_pedalboards_own_effects_are_those_that_we_name() -> None:
    board: Any = pedalboard
    for name, parameters in BUILT_IN.items():
        signature = (getattr(board, name).__init__.__doc__ or "").partition("\n")[0]
        assert all(f"{parameter}:" in signature for parameter in parameters), signature


@pytest.mark.parametrize(("sample", "value"), [(0, 1.0), (100, 1.0), (150, 2.0), (200, 3.0), (10_000, 3.0)])
def test_automated_numbers_run_straight_between_points(sample: int, value: float) -> None:
    assert value_at([[100, 1.0], [200, 3.0]], sample) == value


def test_automated_switches_hold_until_the_next_point() -> None:
    assert [value_at([[0, False], [10, True]], sample) for sample in (0, 9, 10)] == [False, False, True]
