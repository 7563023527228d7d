"""A job's way into its files: through the disk, so that a long clip needs no memory, and what a full one says."""

from __future__ import annotations

import io
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa3_daw.audio.files import read_wav
from sa3_daw.cli.perform import perform
from sa3_daw.cli.report import JsonReport
from sa3_daw.client_clip import OnDisk
from tests import fake_engine
from tests.running_daemon import RunningDaemon, a_job

NUM_SAMPLES = 2 << 20
CLIP_BYTES = 8 * NUM_SAMPLES


def test_a_long_clip_and_its_draft_become_files_in_a_fraction_of_their_memory(tmp_path: Path) -> None:
    job = replace(a_job("chunk=16384", num_samples=NUM_SAMPLES), draft=True)
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        out = tmp_path / "out" / "clip.wav"
        out.parent.mkdir()
        tracemalloc.start()
        perform(client, job, out, JsonReport())
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [path.name for path in out.parent.iterdir()] == ["clip.wav"]
    samples, _, recipe, _ = read_wav(out)
    assert np.array_equal(samples, fake_engine.tone(job)) and recipe and recipe["audio"]
    assert peak_bytes < CLIP_BYTES / 3


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(buffering: int, dir: Path) -> io.FileIO:
        return io.FileIO("/dev/full", "r+")

    monkeypatch.setattr("sa3_daw.client_clip.TemporaryFile", full_disk)
    with closing(OnDisk(tmp_path, 8)) as held, pytest.raises(OSError, match=f"left on device: '{tmp_path}'"):
        held.write(0, np.zeros((2, 8), dtype=np.float32))
