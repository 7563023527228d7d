"""Latents on disk as the daemon counts and deletes them: each once, in bounded memory, past files that stay."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from time import time

import pytest
import torch

from sa3_daw.blobs import latents_path
from sa3_daw.daemon.latent_shelf import LatentShelf
from sa3_daw.generation.latent_files import LatentFiles

NAME = "{:064x}".format


def put(folder: Path, audio: str, num_bytes: int, changed: float) -> Path:
    path = latents_path(folder, audio, "a")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(num_bytes))
    os.utime(path, (changed, changed))
    return path


def stays(monkeypatch: pytest.MonkeyPatch, fixed: Callable[[Path], bool]) -> None:
    """Let files be undeletable, also for root."""
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if fixed(path):
            raise PermissionError("this file stays")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)


def num_patterns() -> int:
    return sum(type(each) is re.Pattern for each in gc.get_objects())


def test_nothing_is_kept_of_audio_that_went(tmp_path: Path) -> None:
    shelf = LatentShelf(tmp_path)
    shelf.open()
    known = num_patterns()
    for number in range(50):
        put(tmp_path, NAME(number), 10, time())
        assert shelf.remove_of(NAME(number)) == 10
    assert num_patterns() == known


def test_latents_that_were_seen_before_they_are_told_count_once(tmp_path: Path) -> None:
    shelf = LatentShelf(tmp_path)
    put(tmp_path, NAME(1), 100, 1000.0)
    shelf.open()
    put(tmp_path, NAME(2), 10, time())
    shelf.collect(lambda _: True, None, None)
    shelf.written(10)
    assert shelf.num_bytes == 110
    shelf.collect(lambda _: True, None, None)
    assert shelf.num_bytes == 110


def test_latents_from_a_clock_that_ran_ahead_count_as_well(tmp_path: Path) -> None:
    shelf = LatentShelf(tmp_path)
    shelf.open()
    put(tmp_path, NAME(1), 100, time() + 1e6)
    shelf.collect(lambda _: True, None, None)
    assert shelf.num_bytes == 100


def test_latents_that_are_written_again_count_once(tmp_path: Path) -> None:
    files = LatentFiles(tmp_path)
    files.write(NAME(1), "a", torch.zeros(2, 4))
    assert files.take_num_written_bytes() == latents_path(tmp_path, NAME(1), "a").stat().st_size
    files.write(NAME(1), "a", torch.ones(2, 4))
    assert files.take_num_written_bytes() == 0


def test_latents_that_cannot_be_deleted_keep_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = LatentShelf(tmp_path)
    fixed, free = (put(tmp_path, NAME(number), 10, 1000.0 + number) for number in range(2))
    shelf.open()
    stays(monkeypatch, lambda path: path == fixed)
    assert shelf.collect(lambda _: True, 20, 1) == 10
    assert fixed.exists() and not free.exists() and shelf.num_bytes == 10
