"""The command against a real daemon with the embedded model: files, events, Ctrl-C, errors, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa3_daw.audio.files import read_wav


class Command:
    """Runs sa3-daw against one runtime directory of its own."""

    def __init__(self, runtime_dir: Path) -> None:
        ours = {"SA3_RUNTIME_DIR": str(runtime_dir), "SA3_DATA_DIR": f"{runtime_dir}.data", "OMP_NUM_THREADS": "1"}
        self.environment = {**os.environ, **ours}

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sa3_daw", *map(str, words)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )


@pytest.fixture(scope="module")
def sa3_daw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    command = Command(tmp_path_factory.mktemp("run"))
    yield command
    assert command("stop").returncode == 0


def test_generate_writes_exactly_the_bars_asked_for_with_their_recipe(sa3_daw: Command, tmp_path: Path) -> None:
    path = tmp_path / "drums.wav"
    words = "generate --prompt drums --bars 1 --start-bar 2 --bpm 127.5 --meter 7/8 --rate 48000 --seed 5 --steps 2"
    done = sa3_daw(*words.split(), "-o", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{path}: 79059 samples at 48000 Hz (1.647 s)" in done.stdout
    samples, rate, recipe, start_sample = read_wav(path)
    assert (samples.shape, rate, start_sample) == ((2, 79_059), 48_000, 79_059)
    assert np.isfinite(samples).all()
    assert recipe is not None
    assert (recipe["prompt"], recipe["seed"], recipe["steps"], recipe["model"]) == ("drums", 5, 2, "nano")
    assert recipe["tempo_map"] == [{"position_ppq": 0.0, "bpm": 127.5, "numerator": 7, "denominator": 8}]


def test_json_lines_tell_every_event_and_end_with_the_file(sa3_daw: Command, tmp_path: Path) -> None:
    path = tmp_path / "pad.wav"
    done = sa3_daw("generate", "--prompt", "pad", "--samples", "50001", "--steps", "2", "--json", "-o", path)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names[:2] == ["submitted", "accepted"]
    assert names[-2:] == ["finished", "written"]
    assert {"progress", "audio"} <= set(names)
    assert sum(event["num_samples"] for event in events if event["event"] == "audio") == 50_001
    assert (events[-1]["path"], events[-1]["num_samples"]) == (str(path), 50_001)


def test_the_same_seed_gives_the_same_samples(sa3_daw: Command, tmp_path: Path) -> None:
    words = ["generate", "--prompt", "bass", "--seconds", "0.5", "--steps", "2", "--seed", "9", "-o"]
    for name in ("one.wav", "two.wav"):
        assert sa3_daw(*words, tmp_path / name).returncode == 0
    one, two = (read_wav(tmp_path / name)[0] for name in ("one.wav", "two.wav"))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--model", "medium"], ["medium", "nano"]),
        (["--steps", "100000"], ["steps", "100000"]),
        (["--guidance", "nan"], ["guidance_scale", "nan"]),
        (["--rate", "44101"], ["sample_rate", "44101", "48000"]),
        (["--prompt", "x" * 100_000], ["prompt"]),
        (["--start-bar", "1000000000000"], ["start_sample"]),
    ],
    ids=lambda words: words[0],
)
def test_what_the_daemon_refuses_is_one_sentence(
    sa3_daw: Command, tmp_path: Path, words: list[str], named: list[str]
) -> None:
    path = tmp_path / "never.wav"
    done = sa3_daw("generate", "--prompt", "drums", "--bars", "1", "-o", path, *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 500
    assert all(name in done.stderr for name in named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [["--seconds", "100000"], ["--samples", str(2**62)]])
def test_a_clip_longer_than_the_model_allows_is_refused(sa3_daw: Command, tmp_path: Path, length: list[str]) -> None:
    done = sa3_daw("generate", "--prompt", "drums", "-o", tmp_path / "never.wav", *length)
    assert done.returncode == 2
    assert "num_samples is" in done.stderr
    assert "allowed" in done.stderr


def test_ctrl_c_cancels_on_the_daemon_and_leaves_no_file(sa3_daw: Command, tmp_path: Path) -> None:
    words = "generate --prompt drums --seconds 30 --steps 200 --json -o"
    with sa3_daw.start(*words.split(), tmp_path / "out.wav") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"sampling"' in line:
                break
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.splitlines()[-1] == '{"event": "cancelled"}'
    assert err == "sa3-daw: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    assert "1 cancelled" in sa3_daw("status").stdout


def test_models_and_status_name_what_is_there(sa3_daw: Command) -> None:
    assert sa3_daw("models").stdout.startswith("nano ")
    status = sa3_daw("status")
    assert status.returncode == 0
    assert status.stdout.startswith("daemon  process ")


def test_without_a_daemon_status_says_so_and_stop_is_content(tmp_path: Path) -> None:
    alone = Command(tmp_path / "run")
    assert (alone("status").returncode, alone("status").stdout) == (
        1,
        "no daemon runs; any job starts one, and so does: sa3-daw serve\n",
    )
    assert (alone("stop").returncode, alone("stop").stdout) == (0, "no daemon runs\n")


def test_demo_writes_sound_and_picture_and_leaves_a_running_daemon_alone(sa3_daw: Command, tmp_path: Path) -> None:
    done = sa3_daw("demo", "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "332047 samples at 44100 Hz (7.529 s)" in done.stdout
    assert read_wav(tmp_path / "demo.wav")[0].shape == (2, 332_047)
    with Image.open(tmp_path / "demo.png") as image:
        assert image.size[0] >= 1000
    assert sa3_daw("status").returncode == 0


def test_without_an_audio_device_the_file_is_written_all_the_same(sa3_daw: Command, tmp_path: Path) -> None:
    """Machines that run tests have no device; one that has plays half a second."""
    path = tmp_path / "heard.wav"
    done = sa3_daw("generate", "--prompt", "hats", "--seconds", "0.5", "--steps", "2", "--play", "-o", path)
    assert done.returncode == 0
    assert path.exists()
    assert done.stderr == "" or done.stderr.startswith("sa3-daw: not played: ")


def test_help_needs_no_torch_and_names_every_command(sa3_daw: Command) -> None:
    shown = sa3_daw("--help").stdout
    words = "demo generate inpaint continue restyle loop takes models lora serve status monitor stop doctor bench"
    assert all(f"\n    {word}" in shown for word in words.split())
    assert sa3_daw().stdout == shown
