"""Audio that was made, under the keys of what it was made of, so that it is not made twice. Knows no project."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_CHANNELS = 2
SPARE_BYTES = 4 << 30
"""What may stay of audio that the project at hand does not use: going back to an earlier version costs nothing."""


class Store:
    """A folder of planar little-endian float32 files. A file appears whole or not at all, also after a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, key: str) -> bool:
        return self.path(key).is_file()

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.f32"

    def scratch(self, key: str, what: str) -> Path:
        """Return where something on its way to a key may lie; it is swept away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{key}.{what}.part"

    def get(self, key: str) -> NDArray[np.float32]:
        """Return audio [2, n], read from the disk where it is looked at."""
        path = self.path(key)
        os.utime(path)
        return np.memmap(path, dtype="<f4", mode="r").reshape(NUM_CHANNELS, -1)

    def put(self, key: str, samples_CS: NDArray[np.float32]) -> None:
        part = self.scratch(key, "audio")
        write_planar(part, samples_CS)
        os.replace(part, self.path(key))

    def sweep(self, used: Collection[str], spare_bytes: int = SPARE_BYTES) -> None:
        """Delete what was left half done, and the audio used longest ago beyond ``spare_bytes`` not in use."""
        if not self.folder.is_dir():
            return
        for part in self.folder.glob("*.part"):
            part.unlink()
        others = [path for path in self.folder.glob("*.f32") if path.stem not in used]
        for path in sorted(others, key=lambda each: each.stat().st_mtime_ns, reverse=True):
            spare_bytes -= path.stat().st_size
            if spare_bytes < 0:
                path.unlink()


def write_planar(path: Path, samples_CS: NDArray[np.float32]) -> None:
    """Write audio to the disk itself, not only to the system's memory of it."""
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(samples_CS, dtype="<f4").data)
        file.flush()
        os.fsync(file.fileno())
