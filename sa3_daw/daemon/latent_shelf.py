"""Latents that engines left beside the audio: counted and deleted here, never read. Knows no take and no job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sa3_daw.blobs import latents_path

ANY = "*"


class LatentShelf:
    """Files of latents under one data folder; each can be made again from its audio."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.num_bytes = 0
        """What they use on disk, as far as it was seen."""

    def open(self) -> None:
        """Clear away what was left half written, and measure the rest."""
        for part in (self._data_dir / "latents").glob("*/*.part"):
            with contextlib.suppress(OSError):
                part.unlink()
        self.num_bytes = sum(size for _, size, _ in self._files())

    def written(self, num_bytes: int) -> None:
        """Count what an engine has written."""
        self.num_bytes += num_bytes

    def remove_of(self, audio: str) -> int:
        """Delete what belongs to audio that goes; return the bytes freed."""
        pattern = latents_path(self._data_dir, audio, ANY)
        return self._remove(list(pattern.parent.glob(pattern.name)))

    def collect(self, is_stored: Callable[[str], bool], excess: int | None, most: int | None) -> int:
        """Delete latents of audio that is gone, then the oldest until ``excess`` bytes are freed; return the bytes.

        At most so many go at once; ``excess`` None deletes only those without audio.
        """
        files = sorted(self._files(), key=lambda file: file[2])
        self.num_bytes = sum(size for _, size, _ in files)
        gone = [path for path, _, _ in files if not is_stored(path.name.partition(".")[0])]
        freed = self._remove(gone[:most])
        for path, _, _ in files[:most]:
            if excess is None or freed >= excess:
                break
            freed += self._remove([path])
        return freed

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Yield path, bytes and time of last change."""
        for path in (self._data_dir / "latents").glob(f"*/{latents_path(self._data_dir, ANY, ANY).name}"):
            with contextlib.suppress(OSError):
                found = path.stat()
                yield path, found.st_size, found.st_mtime

    def _remove(self, paths: list[Path]) -> int:
        freed = 0
        for path in paths:
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                path.unlink()
                freed += size
        self.num_bytes = max(0, self.num_bytes - freed)
        return freed
