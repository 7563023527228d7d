"""The editing verbs against a real daemon with the embedded model: what is kept, where the clip lies, what is said."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sa3_daw.audio.files import read_wav
from sa3_daw.cli import main
from sa3_daw.config import ENGINE_COMMAND
from tests.running_daemon import RunningDaemon, environment

QUICK = ["--steps", "2", "--seed", "7"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A daemon with the embedded model, and a clip of two bars from bar 3 on, made by it."""
    folder = tmp_path_factory.mktemp("verbs")
    with (
        RunningDaemon(folder / "run", SA3_ENGINE_COMMAND=shlex.join(ENGINE_COMMAND)) as daemon,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, text in environment(daemon.runtime_dir).items():
            patch.setenv(key, text)
        daemon.engine_pid()
        words = [
            "generate",
            "--prompt",
            "drums",
            "--bars",
            "2",
            "--start-bar",
            "3",
            "--bpm",
            "127.5",
            "--rate",
            "48000",
        ]
        assert main([*words, *QUICK, "-o", str(folder / "clip.wav")]) == 0
        yield folder


def test_inpaint_keeps_every_sample_outside_the_region(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "inpainted.wav"
    assert main(["inpaint", str(home / "clip.wav"), "--region", "1:2bars", *QUICK, "-o", str(out)]) == 0
    told = capsys.readouterr().out
    (before, _, _, start), (after, rate, recipe, place) = read_wav(home / "clip.wav"), read_wav(out)
    assert (after.shape, rate, place) == (before.shape, 48_000, start)
    np.testing.assert_array_equal(after[:, :90_353], before[:, :90_353])
    assert not np.array_equal(after[:, 90_353:], before[:, 90_353:])
    assert "changed 90353:180706; every other sample is bit-identical, checked" in told
    assert recipe is not None and recipe["prompt"] == "drums" and recipe["source"]["audio"]


def test_continue_after_and_before_keep_the_clip_in_its_place(home: Path) -> None:
    clip, _, _, start = read_wav(home / "clip.wav")
    after, before = home / "after.wav", home / "before.wav"
    assert main(["continue", str(home / "clip.wav"), "--bars", "1", *QUICK, "-o", str(after)]) == 0
    assert main(["continue", str(home / "clip.wav"), "--bars", "1", "--before", *QUICK, "-o", str(before)]) == 0
    longer, _, _, place = read_wav(after)
    assert (longer.shape[1], place) == (clip.shape[1] + 90_353, start)
    np.testing.assert_array_equal(longer[:, : clip.shape[1]], clip)
    led, _, _, place = read_wav(before)
    assert (led.shape[1], place) == (clip.shape[1] + 90_353, start - 90_353)
    np.testing.assert_array_equal(led[:, 90_353:], clip)


def test_a_lead_in_before_the_origin_moves_the_clip_on_by_whole_bars(home: Path) -> None:
    clip = home / "origin.wav"
    assert main(["generate", "--prompt", "pad", "--bars", "1", *QUICK, "-o", str(clip)]) == 0
    assert main(["continue", str(clip), "--seconds", "0.5", "--before", *QUICK, "-o", str(home / "led.wav")]) == 0
    led, _, _, place = read_wav(home / "led.wav")
    assert (led.shape[1], place) == (88_200 + 22_050, 88_200 - 22_050)


def test_mono_of_another_rate_is_doubled_and_resampled_and_both_are_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mono, out = home / "mono.flac", home / "styled.wav"
    soundfile.write(mono, 0.3 * np.sin(np.arange(32_000) * 0.05), 32_000)
    words = ["restyle", str(mono), "--noise-level", "0.5", "--prompt", "warm pad", "--rate", "44100", *QUICK]
    assert main([*words, "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert "32000 samples at 32000 Hz, mono, doubled" in captured.err
    assert "resampled from 32000 to 44100 Hz: 44100 samples" in captured.err
    assert read_wav(out)[0].shape == (2, 44_100)


def test_loop_changes_only_the_joint(home: Path) -> None:
    out = home / "looped.wav"
    assert main(["loop", str(home / "clip.wav"), *QUICK, "-o", str(out)]) == 0
    before, after = read_wav(home / "clip.wav")[0], read_wav(out)[0]
    middle = before.shape[1] // 2
    np.testing.assert_array_equal(after[:, middle - 1000 : middle + 1000], before[:, middle - 1000 : middle + 1000])


def test_an_edit_that_keeps_nothing_is_brought_to_a_loudness(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["restyle", str(home / "clip.wav"), "--noise-level", "0.5"],
        ["inpaint", str(home / "clip.wav"), "--region", "0:"],
    ):
        out = home / f"{words[0]}-30.wav"
        assert main([*words, *QUICK, "--loudness", "-30", "-o", str(out)]) == 0
        assert "-30.0 LUFS" in capsys.readouterr().out


def test_a_take_is_a_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loop", "take:last", "--json", *QUICK, "-o", str(home / "again.wav")]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "note" and events[-1]["event"] == "written"


def test_a_clip_longer_than_nano_makes_in_one_piece_keeps_its_level_and_beat(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told of 40 s or more at once, nano fell apart: 10 dB louder, without a beat."""
    words = ["generate", "--prompt", "drums", "--seconds", "40", "--steps", "4", "--seed", "1", "--json"]
    assert main([*words, "-o", str(home / "long.wav")]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (made,) = [event["made"] for event in events if event["event"] == "take"]
    assert events[1]["chained"]
    assert made["rms_db"] < -15 and made["beats"]["confidence"] > 0.4


def test_variations_become_numbered_files_and_drafts_go(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "many" / "pad.wav"
    out.parent.mkdir()
    words = ["generate", "--prompt", "pad", "--seconds", "1", "--variations", "2", "--draft", "--json", "--seed", "5"]
    assert main([*words, "-o", str(out)]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(path.name for path in out.parent.iterdir()) == ["pad-1.wav", "pad-2.wav"]
    assert [event["path"] for event in events if event["event"] == "draft_written"] == [
        str(out.with_name(f"pad-{number}.draft.wav")) for number in (1, 2)
    ]
    recipes = [read_wav(out.with_name(f"pad-{number}.wav"))[2] for number in (1, 2)]
    assert [recipe and (recipe["seed"], recipe["num_variations"], recipe["draft"]) for recipe in recipes] == [
        (5, 1, False),
        (6, 1, False),
    ]


def test_an_existing_file_is_written_over_only_by_force(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "kept.wav"
    out.write_bytes(b"mine")
    words = ["generate", "--prompt", "pad", "--seconds", "0.5", *QUICK, "-o", str(out)]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main([*words, "--force"]) == 0
    assert read_wav(out)[0].shape == (2, 22_050)
    assert main([*words[:-1], str(home / "lossy.mp3")]) == 2
    assert ".wav" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["inpaint", "{mono}", "--region", "1:2"], ["prompt", "holds no recipe"]),
        (["inpaint", "{clip}", "--region", "9bars:"], ["region", "9bars:"]),
        (["inpaint", "{clip}", "--region", "0:10", "--rate", "11025"], ["sample_rate", "11025", "44100"]),
        (["restyle", "{clip}", "--noise-level", "1.5"], ["noise_level", "1.5"]),
        (["loop", "{missing}"], ["missing.wav"]),
        (["loop", "{text}"], ["text.wav", "audio file"]),
        (["loop", "{six}"], ["channels is 6"]),
        (["loop", "take:00000000-ffffffff"], ["take_id"]),
        (["loop", "{clip}", "--adapter", "none"], ["adapters[0].name", "none"]),
        (["loop", "{clip}", "--adapter", ":2"], ["adapter", "NAME"]),
        (["loop", "{clip}", "--variations", "0"], ["num_variations is 0"]),
        (["loop", "{clip}", "--loudness", "-14"], ["loudness_lufs is -14", "a gain would change them", "restyle"]),
        (["inpaint", "{clip}", "--region", "1:2", "--loudness", "-14"], ["bit-identical", "level of its surroundings"]),
    ],
    ids=lambda words: " ".join(words) if words[0] in ("inpaint", "loop", "restyle") else "",
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: list[str]
) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "six.wav", np.zeros((100, 6)), 44_100)
    soundfile.write(tmp_path / "mono.wav", np.zeros(100), 44_100)
    places = {name: tmp_path / f"{name}.wav" for name in ("text", "six", "mono", "missing")}
    places["clip"] = home / "clip.wav"
    out = tmp_path / "out" / "never.wav"
    out.parent.mkdir()
    code = main([word.format(**places) for word in words] + ["-o", str(out)])
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert all(name in error for name in named), error
    assert list(out.parent.iterdir()) == []
