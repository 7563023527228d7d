"""Latents that engines left beside the audio: counted and deleted here, never read. Knows no take and no job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

from sa3_daw.blobs import latents_path

SUFFIX = latents_path(Path(), "any", "any").suffix


class LatentShelf:
    """Files of latents under one data folder; each can be made again from its audio."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._told_at = 0.0
        self.num_bytes = 0
        """What they use on disk, as far as it was seen or told."""

    def open(self) -> None:
        """Clear away what was left half written, and measure the rest."""
        for folder in _entries(self._data_dir / "latents"):
            for path in (entry for entry in _entries(folder) if entry.suffix == ".part"):
                self._remove(path)
        self._told_at = time()
        self.num_bytes = sum(size for _, size, _ in self._files())

    def written(self, num_bytes: int) -> None:
        """Count what an engine has written since the last call."""
        self.num_bytes += num_bytes
        self._told_at = time()

    def remove_of(self, audio: str) -> int:
        """Delete what belongs to audio that goes; return the bytes freed."""
        folder = latents_path(self._data_dir, audio, "").parent
        return sum(self._remove(path) for path in _entries(folder) if path.name.startswith(f"{audio}."))

    def collect(self, is_stored: Callable[[str], bool], excess: int | None, most: int | None) -> int:
        """Delete latents of audio that is gone, then the oldest until ``excess`` bytes are freed; return the bytes.

        At most so many go at once, and files that cannot be deleted are passed over; ``excess`` None deletes only
        those without audio. What an engine has not told of yet is counted when it does.
        """
        now, freed, num_gone = time(), 0, 0
        files = list(self._files())
        self.num_bytes = sum(size for _, size, changed in files if not self._told_at < changed <= now)
        order = sorted((is_stored(path.name.partition(".")[0]), changed, path) for path, _, changed in files)
        for is_needed, _, path in order:
            if num_gone == most or (is_needed and (excess is None or freed >= excess)):
                break
            removed = self._remove(path)
            freed, num_gone = freed + removed, num_gone + bool(removed)
        return freed

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Yield path, bytes and time of last change."""
        for folder in _entries(self._data_dir / "latents"):
            for path in (entry for entry in _entries(folder) if entry.suffix == SUFFIX):
                with contextlib.suppress(OSError):
                    found = path.stat()
                    yield path, found.st_size, found.st_mtime

    def _remove(self, path: Path) -> int:
        """Delete one file; return the bytes freed, 0 when it cannot be deleted."""
        try:
            size = path.stat().st_size
            path.unlink()
        except OSError:
            return 0
        self.num_bytes = max(0, self.num_bytes - size)
        return size


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder. No glob: it keeps every pattern it has seen, and each audio has its own."""
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:
        return []
