"""Projects through the command: a real daemon whose engine makes tones, pedalboard in its child, real files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sa3_daw.audio.loudness import loudness_lufs, true_peak_db
from tests.projects import Projects
from tests.running_daemon import PATIENCE_SECONDS, ROOT, RunningDaemon, wait_for

RATE = 48000
BAR = 2 * RATE

SONG = """
[project]
rate = 48000
length = "2bars"
tail = "0.25s"
[[track]]
name = "drums"
gain_db = -3
pan = 0.25
[[track.clip]]
at = "0bars"
kind = "generate"
prompt = "drums"
length = "1bars"
seed = 1
fade_out = "1beat"
[[track.effect]]
use = "Compressor"
parameters = { threshold_db = -18, ratio = 3 }
[[track]]
name = "bass"
[[track.clip]]
at = "1bars"
kind = "generate"
prompt = "bass"
length = "1bars"
seed = 2
[[track.send]]
to = "echo"
gain_db = -6
[[bus]]
name = "echo"
[[bus.effect]]
use = "Delay"
parameters = { delay_seconds = 0.125, mix = 1.0 }
[[output]]
file = "mix.flac"
rate = 44100
depth = 16
[[output]]
of = "premaster"
file = "premaster.wav"
depth = "float"
[[output]]
of = "stems"
file = "stems/{name}.wav"
depth = "float"
"""

ONE_CLIP = """
[project]
rate = 48000
[[track]]
name = "drums"
[[track.clip]]
at = "0bars"
kind = "generate"
prompt = "drums"
length = "1beat"
seed = 1
[[output]]
file = "mix.wav"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("projects") / "run") as running:
        yield running


@pytest.fixture
def projects(daemon: RunningDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Projects:
    return Projects(tmp_path, daemon.runtime_dir, monkeypatch)


def test_stems_sum_to_the_mix_before_the_master_in_exact_lengths(projects: Projects) -> None:
    assert projects.render(SONG) == 0
    stems = [projects.audio(f"stems/{name}.wav") for name in ("drums", "bass", "echo")]
    assert all(stem.shape == (2, 2 * BAR + RATE // 4) for stem in stems)
    summed = np.zeros_like(stems[0])
    for stem in stems:
        summed += stem
    np.testing.assert_array_equal(summed, projects.audio("premaster.wav"))
    assert projects.audio("mix.flac").shape == (2, round((2 * BAR + RATE // 4) * 44100 / RATE))
    assert stems[2][:, 2 * BAR :].any(), "the echo rings on into the tail"
    assert not stems[0][:, BAR:].any(), "no clip, no sound"
    page = (projects.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 5 and (projects.folder / "out" / "pictures" / "stems" / "bass.wav.png").is_file()


def test_only_what_changed_is_made_again_and_the_bytes_are_those_of_a_fresh_run(
    projects: Projects, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [
        ("gain_db = -3", "gain_db = -5", {"clip drums 1", "strip drums", "strip bass", "strip echo"}),
        ("seed = 2", "seed = 9", {"clip drums 1", "strip drums", "output stems/drums.wav"}),
        ("mix = 1.0", "mix = 0.5", {"clip bass 1", "strip bass", "output stems/bass.wav"}),
        ("depth = 16", "depth = 24", {"strip master", "output premaster.wav", "output stems/echo.wav"}),
    ]
    random.Random(5).shuffle(changes)
    text = SONG
    assert projects.render(text) == 0
    for before, after, untouched in changes:
        text = text.replace(before, after)
        capsys.readouterr()
        assert projects.render(text, "out", "--json") == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        made = {event["id"] for event in events if event.get("state") == "made"}
        assert made and not made & untouched
    assert projects.render(text, "fresh") == 0
    assert projects.bytes_of("out") == projects.bytes_of("fresh")
    capsys.readouterr()
    assert projects.render(text, "out", "--plan") == 0
    assert "; 0 to make" in capsys.readouterr().out


def test_what_the_running_daemon_computes_with_decides_what_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = Projects(tmp_path, tmp_path / "run", monkeypatch)
    with RunningDaemon(tmp_path / "run", SA3_PRECISION="fp32"):
        assert projects.render(ONE_CLIP) == 0
        monkeypatch.setenv("SA3_PRECISION", "bf16")
        assert projects.render(ONE_CLIP, "out", "--plan") == 0
        assert "; 0 to make" in capsys.readouterr().out
    with RunningDaemon(tmp_path / "run", SA3_COMPILE="yes"):
        assert projects.render(ONE_CLIP, "out", "--plan") == 0
        assert "make    clip" in capsys.readouterr().out


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(projects: Projects) -> None:
    text = SONG.replace('prompt = "bass"', 'prompt = "bass steps=40 step_ms=25"')
    command = [sys.executable, "-m", "sa3_daw", "render", str(projects.write(text)), "-o"]
    process = subprocess.Popen(
        [*command, str(projects.folder / "cut")], cwd=ROOT, env=projects.environment, stdout=subprocess.DEVNULL
    )
    cache = projects.folder / "cut" / "cache"
    wait_for("the first clip", lambda: any(cache.glob("*.f32")))
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_SECONDS)
    first = {path.name: path.stat().st_mtime_ns for path in cache.glob("*.f32")}
    (cache / "left-behind.part").touch()
    assert len(first) < 6
    assert projects.render(text, "cut") == 0
    assert projects.render(text, "whole") == 0
    assert projects.bytes_of("cut") == projects.bytes_of("whole")
    assert not list(cache.glob("*.part"))
    assert {path.name for path in cache.glob("*.f32")} >= set(first)


def test_a_harmed_file_is_written_again(projects: Projects) -> None:
    text = SONG.partition("[[output]]")[0] + "[[output]]\nof = 'bass'\nfile = 'bass.aiff'\n"
    assert projects.render(text) == 0
    file = projects.folder / "out" / "bass.aiff"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert projects.render(text) == 0
    assert file.read_bytes() == whole


def test_edits_get_their_source_and_files_are_resampled_when_that_is_asked(
    projects: Projects, capsys: pytest.CaptureFixture[str]
) -> None:
    tone = (0.5 * np.sin(np.arange(44100) * 0.05)).astype(np.float32)
    soundfile.write(projects.folder / "voice.wav", tone, 44100)
    text = """
    [project]
    rate = 48000
    [[clip]]
    name = "voice"
    kind = "file"
    file = "voice.wav"
    [[track]]
    [[track.clip]]
    at = 0
    kind = "continue"
    source = "voice"
    prompt = "choir"
    length = 1000
    part = "48000:"
    [[output]]
    file = "mix.wav"
    """
    assert projects.render(text) == 2
    assert "line 4: file 'voice.wav' is at 44100 Hz; allowed: 48000 Hz" in capsys.readouterr().err
    assert projects.render(text.replace('voice.wav"', 'voice.wav"\n    resample = true')) == 0
    assert projects.audio("mix.wav").shape == (2, 1000)
    (projects.folder / "voice.wav").write_bytes(b"no audio at all")
    assert projects.render(text) == 2
    assert "line 4: file 'voice.wav' cannot be read as audio" in capsys.readouterr().err


def test_keep_going_makes_all_that_does_not_need_what_is_wrong(
    projects: Projects, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SONG.replace("ratio = 3", "size = 3").replace('prompt = "bass"', 'prompt = "bass fail=engine_error"')
    assert projects.render(text) == 2
    assert not (projects.folder / "out").exists()
    assert projects.render(text, "out", "--keep-going") == 1
    errors = capsys.readouterr().err
    assert "line 19: size means nothing here" in errors and "line 22: clip bass 1: failed as asked" in errors
    assert not list((projects.folder / "out").glob("**/*.wav")), "everything needs one of the two"
    text = SONG.replace("ratio = 3", "size = 3")
    assert projects.render(text, "out", "--keep-going") == 1
    made = {path.relative_to(projects.folder / "out").as_posix() for path in projects.folder.glob("out/**/*.wav")}
    assert made == {"stems/bass.wav", "stems/echo.wav"}
    assert "not made" in (projects.folder / "out" / "report.html").read_text(encoding="utf-8")


FILE_SONG = """
[project]
rate = 48000
length = 48000
[[track]]
name = "a"
[[track.clip]]
at = 0
kind = "file"
file = "in.wav"
{effects}
[[output]]
file = "out.wav"
depth = "float"
{more}
"""


def with_file(projects: Projects, samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    soundfile.write(projects.folder / "in.wav", samples, RATE, subtype="FLOAT")


def test_automation_moves_at_block_borders_and_holds_before_and_after(projects: Projects) -> None:
    with_file(projects, np.ones(RATE, np.float32))
    effect = "[[track.effect]]\nuse = 'Gain'\n[[track.effect.automation]]\nparameter = 'gain_db'\n"
    points = "points = [[10000, -20.0], [20000, 0.0]]"
    assert projects.render(FILE_SONG.format(effects=effect + points, more="")) == 0
    heard_db = 20 * np.log10(projects.audio("out.wav")[0])
    starts = np.arange(0, RATE, 512)
    wanted = np.interp(starts, [10000, 20000], [-20.0, 0.0])
    # pedalboard glides from value to value; at the end of its block each is reached.
    np.testing.assert_allclose(heard_db[np.minimum(starts + 511, RATE - 1)], wanted, atol=0.9)
    assert heard_db[9000] == pytest.approx(-20, abs=1e-3) and heard_db[40000] == pytest.approx(0, abs=1e-3)


def test_effects_with_latency_keep_time_and_length(projects: Projects) -> None:
    rng = np.random.default_rng(2)
    given = (0.1 * rng.standard_normal(RATE)).astype(np.float32)
    with_file(projects, given)
    effect = "[[track.effect]]\nuse = 'BrickwallLimiter'\nparameters = { ceiling_db = 0, lookahead_ms = 5 }"
    assert projects.render(FILE_SONG.format(effects=effect, more="")) == 0
    np.testing.assert_allclose(projects.audio("out.wav")[0], given, atol=1e-5)


def test_outputs_have_the_loudness_the_ceiling_and_the_depth_asked_for(projects: Projects) -> None:
    rng = np.random.default_rng(3)
    with_file(projects, (0.02 * rng.standard_normal(RATE)).astype(np.float32))
    more = (
        "[[output]]\nfile = 'loud.wav'\nloudness_lufs = -20\ntrue_peak_db = -1\ndepth = 16\n"
        "[[output]]\nfile = 'held.aiff'\nloudness_lufs = -3\ntrue_peak_db = -6\n"
        "[[output]]\nfile = 'plain.flac'\ndepth = 16\ndither = 'none'\n"
        "[[output]]\nfile = 'dithered.flac'\ndepth = 16\n"
    )
    assert projects.render(FILE_SONG.format(effects="", more=more)) == 0
    assert loudness_lufs(projects.audio("loud.wav"), RATE) == pytest.approx(-20, abs=0.05)
    assert true_peak_db(projects.audio("held.aiff"), RATE) == pytest.approx(-6, abs=0.02)
    manifest = json.loads((projects.folder / "out" / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert "held by -6 dBTP" in manifest["held.aiff"]["notes"][0] and not manifest["loud.wav"]["notes"]
    assert soundfile.info(projects.folder / "out" / "loud.wav").subtype == "PCM_16"
    exact, plain, dithered = (projects.audio(name) for name in ("out.wav", "plain.flac", "dithered.flac"))
    assert np.abs(plain - exact).max() <= 0.5 / 32768
    error = (dithered - exact) * 32768
    assert 1 < np.abs(error).max() <= 1.5 and abs(error.mean()) < 0.01
    assert error.var() == pytest.approx(1 / 12 + 1 / 6, rel=0.05), "rounding and two uniform numbers"


def test_the_example_renders_whole(projects: Projects) -> None:
    text = (ROOT / "examples" / "song" / "song.toml").read_text(encoding="utf-8")
    assert projects.render(text) == 0
    written = projects.bytes_of("out")
    assert {"song.wav", "song-44k.flac", "premaster.wav", "stems/echo.wav", "report.html"} <= set(written)
    assert projects.audio("song.wav").shape == (2, 999226)
    assert os.path.getsize(projects.folder / "out" / "pictures" / "song.wav.png") > 10_000
