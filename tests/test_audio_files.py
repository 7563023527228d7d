"""Files keep every sample, their place and their recipe; other readers open them; no half file is ever left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sa3_daw.audio import files
from sa3_daw.audio.files import WavWriter, read_wav, write_wav
from sa3_daw.errors import InvalidField

RECIPE: dict[str, Any] = {"job_id": "j1", "prompt": "house drums & <bass>", "seed": 2**62, "bpms": [127.5]}


def clip(num_samples: int, num_channels: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((num_channels, num_samples)).astype(np.float32)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("num_samples", [0, 1, 44_101])
def test_samples_rate_recipe_and_place_come_back(tmp_path: Path, num_samples: int, num_channels: int) -> None:
    path = tmp_path / "clip.wav"
    samples = clip(num_samples, num_channels)
    write_wav(path, samples, 96_000, RECIPE, 2**33 + 7)
    back, rate, recipe, start_sample = read_wav(path)
    np.testing.assert_array_equal(back, samples)
    assert (rate, recipe, start_sample) == (96_000, RECIPE, 2**33 + 7)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=100, deadline=None)
@given(prompt=st.text(max_size=400))
def test_any_prompt_survives_in_the_recipe(prompt: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("prompt") / "clip.wav"
    write_wav(path, clip(4), 44_100, {"prompt": prompt}, 0)
    assert read_wav(path)[2] == {"prompt": prompt}


def test_pieces_make_the_same_file_as_one_write(tmp_path: Path) -> None:
    samples = clip(1000)
    write_wav(tmp_path / "one.wav", samples, 48_000, {}, 5)
    with WavWriter(tmp_path / "pieces.wav", 48_000, 2, {}, 5) as writer:
        for start in range(0, 1000, 64):
            writer.write(samples[:, start : start + 64])
    assert writer.num_samples == 1000
    one, pieces = ((tmp_path / name).read_bytes() for name in ("one.wav", "pieces.wav"))
    clock = slice(12 + 36 + 8 + 320, 12 + 36 + 8 + 338)
    assert one[: clock.start] + one[clock.stop :] == pieces[: clock.start] + pieces[clock.stop :]


def test_libsndfile_reads_it_as_float_with_broadcast_text(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    write_wav(path, clip(100), 44_100, RECIPE, 0)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.frames, info.channels) == ("WAV", "FLOAT", 100, 2)
    assert b"house drums & <bass>" in path.read_bytes()[:1024]


def test_sox_reads_it_without_a_word(tmp_path: Path, sox: str) -> None:
    path = tmp_path / "clip.wav"
    samples = clip(1000) / np.float32(8)
    write_wav(path, samples, 48_000, RECIPE, 48_000)
    raw = subprocess.run([sox, path, "-t", "f32", "-"], check=True, capture_output=True)
    assert raw.stderr == b""
    np.testing.assert_allclose(np.frombuffer(raw.stdout, "<f4").reshape(-1, 2).T, samples, atol=1e-7)


def test_beyond_the_riff_limit_it_is_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is lowered instead of writing 4 GiB; the 64-bit sizes are what readers go by."""
    monkeypatch.setattr(files, "RIFF_LIMIT_BYTES", 2000)
    path = tmp_path / "long.wav"
    samples = clip(1000)
    write_wav(path, samples, 44_100, RECIPE, 3)
    assert path.read_bytes()[:4] == b"RF64"
    assert soundfile.info(path).format == "RF64"
    back, _, recipe, start_sample = read_wav(path)
    np.testing.assert_array_equal(back, samples)
    assert (recipe, start_sample) == (RECIPE, 3)


def test_an_error_while_writing_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    write_wav(path, clip(10), 44_100, {}, 0)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), WavWriter(path, 44_100, 2, {}, 0) as writer:
        writer.write(clip(1000))
        _ = 1 // 0
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from sa3_daw.audio.files import write_wav
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    write_wav(Path(sys.argv[1]), np.zeros((2, 100_000), np.float32), 44_100, {}, 0)
except OSError as error:
    print(error.strerror, Path(error.filename).name, sep="|")
"""


@pytest.mark.parametrize("limit_bytes", [100, 500_000])
def test_a_disk_without_room_is_named_and_leaves_no_file(tmp_path: Path, limit_bytes: int) -> None:
    """A file-size limit stands in for the full disk: both fail the write itself."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "clip.wav"), str(limit_bytes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "File too large|clip.wav\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["", "nowhere/clip.wav", "pipe"])
def test_what_cannot_become_a_file_is_refused_and_left_alone(tmp_path: Path, target: str) -> None:
    """Renaming over a device or pipe would replace it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidField, match="output is .*; allowed: a file"):
        write_wav(tmp_path / target, clip(1), 44_100, {}, 0)
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    write_wav(tmp_path / "link.wav", clip(7), 44_100, {}, 0)
    assert (tmp_path / "link.wav").is_symlink()
    assert read_wav(tmp_path / "real.wav")[0].shape == (2, 7)


def test_a_place_before_the_origin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="start_sample is -1"):
        write_wav(tmp_path / "clip.wav", clip(1), 44_100, {}, -1)


def test_foreign_files_have_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "plain.wav"
    soundfile.write(path, clip(100).T / 8, 22_050, subtype="PCM_16")
    samples, rate, recipe, start_sample = read_wav(path)
    assert (samples.shape, rate, recipe, start_sample) == ((2, 100), 22_050, None, 0)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"not audio at all" * 10])
def test_a_file_that_is_no_audio_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(InvalidField, match="file is .*broken"):
        read_wav(path)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 1600), garbage=st.binary(max_size=64), position=st.integers(0, 1500))
def test_damaged_files_raise_only_typed_errors(
    cut: int, garbage: bytes, position: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "clip.wav"
    write_wav(path, clip(50), 44_100, RECIPE, 0)
    whole = path.read_bytes()
    path.write_bytes((whole[:position] + garbage + whole[position + len(garbage) :])[:cut])
    try:
        samples, _, _, _ = read_wav(path)
    except InvalidField:
        return
    assert samples.ndim == 2
