"""`takes`, `status`, `monitor` against a real daemon whose engine plays tones: listed, marked, exported, made again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sa3_daw.audio.files import read_wav
from sa3_daw.cli import main
from tests.running_daemon import RunningDaemon, environment


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A daemon that holds two takes, of drums and of a pad."""
    folder = tmp_path_factory.mktemp("takes")
    with RunningDaemon(folder / "run") as daemon, pytest.MonkeyPatch.context() as patch:
        for key, text in environment(daemon.runtime_dir).items():
            patch.setenv(key, text)
        for prompt, start in (("drums", "1"), ("pad", "5")):
            words = ["generate", "--prompt", prompt, "--bars", "1", "--start-bar", start, "--seed", "3"]
            assert main([*words, "-o", str(folder / f"{prompt}.wav")]) == 0
        yield folder


def told(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out or captured.err


def ids(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    lines = told(capsys, "takes", "list", "--json", *words).splitlines()
    return [json.loads(line)["take_id"] for line in lines]


def test_takes_are_listed_newest_first_and_searched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "takes", "list")
    assert shown.index("pad") < shown.index("drums")
    found = told(capsys, "takes", "search", "drum")
    assert "drums" in found and "pad" not in found
    assert told(capsys, "takes", "search", "violin") == "no takes\n"
    assert len(ids(capsys, "--limit", "1")) == 1


def test_stars_and_tags_come_and_go(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = ids(capsys)[0]
    assert "* pad" in told(capsys, "takes", "star", "last")
    assert "#keep #loud" in told(capsys, "takes", "tag", "last", "keep", "loud")
    assert ids(capsys, "--starred") == ids(capsys, "--tag", "keep") == [newest]
    assert "* pad #keep" in told(capsys, "takes", "untag", newest, "loud")
    assert "*" not in told(capsys, "takes", "unstar", newest)
    assert ids(capsys, "--starred") == []


def test_show_and_get_tell_the_recipe(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "takes", "show", "last")
    assert "pad" in shown and "seed 3" in shown and "88200 samples at 44100 Hz (2.000 s) from sample 352800" in shown
    held = json.loads(told(capsys, "takes", "get", "last"))
    assert (held["job"]["prompt"], held["take"]["made"]["seed"]) == ("pad", 3)


def test_export_writes_what_generate_wrote(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told(capsys, "takes", "export", *ids(capsys), "-o", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    told(capsys, "takes", "export", "last", "-o", tmp_path / "one.wav")
    samples, rate, recipe, start = read_wav(tmp_path / "one.wav")
    wrote = read_wav(home / "pad.wav")
    np.testing.assert_array_equal(samples, wrote[0])
    assert (rate, start) == (wrote[1], wrote[3]) == (44_100, 352_800)
    assert recipe is not None and wrote[2] is not None and recipe["take_id"] == wrote[2]["take_id"]
    assert "--force" in told(capsys, "takes", "export", "last", "-o", tmp_path / "one.wav", code=2)


def test_a_take_made_again_is_bit_identical_and_stored_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = ids(capsys)
    assert told(capsys, "takes", "rerender", "last").endswith("made again: bit-identical\n")
    assert ids(capsys) == before
    lines = told(capsys, "takes", "rerender", before[1], "--json").splitlines()
    assert json.loads(lines[-1]) == {
        "event": "rerendered",
        "take_id": before[1],
        "identical": True,
        "peak_difference": 0.0,
    }


def test_what_is_not_there_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = "00000099-ffffffff"
    assert told(capsys, "takes", "delete", gone, code=1) == f"there is no take {gone}\n"
    for word in ("show", "get", "star", "export", "rerender"):
        assert gone in told(capsys, "takes", word, gone, code=2)


def test_deleted_and_collected_takes_are_gone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--prompt", "short", "--seconds", "0.1"]
    for number in range(2):
        assert main([*words, "-o", str(home / f"short{number}.wav")]) == 0
    newest, second = ids(capsys)[:2]
    assert told(capsys, "takes", "delete", newest) == f"{newest} deleted\n"
    assert ids(capsys)[0] == second
    assert told(capsys, "takes", "gc", "--budget-mb", "1000").startswith("0 takes deleted")
    assert "4" in told(capsys, "takes", "gc", "--budget-mb", "0") or ids(capsys) == []


def test_status_is_one_screen_json_or_metrics(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--prompt", "seen", "--seconds", "0.1", "-o", str(home / "seen.wav")]) == 0
    shown = told(capsys, "status")
    assert re.match(r"daemon  process \d+, up ", shown)
    assert "engine  idle, process" in shown and "seen" in shown and "finished" in shown
    assert len(shown.splitlines()) < 40
    assert json.loads(told(capsys, "status", "--json"))["engine"]["state"] == "idle"
    assert "sa3_daw_jobs_ended_total" in told(capsys, "status", "--prometheus")


def test_monitor_shows_the_same_screen_until_ctrl_c(home: Path) -> None:
    command = [sys.executable, "-m", "sa3_daw", "monitor", "--interval", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heads = [process.stdout.readline().split()[0] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err, heads) == (0, "", ["daemon", "engine"])
