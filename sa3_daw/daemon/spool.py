"""Stereo audio on its way into a file, planar, read back as it is needed. Knows no job, no take and no client.

When the disk takes nothing, pieces are kept in memory instead, so that the audio still reaches who waits for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from pathlib import Path
from typing import IO

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS

log = logging.getLogger(__name__)

BYTES_PER_SAMPLE = BYTES_PER_FRAME // NUM_CHANNELS
HASH_BLOCK_BYTES = 1 << 20


def spool_path(folder: Path, name: str, num_samples: int) -> Path:
    """Return a file that no other spool has; its name tells a later process how long the audio was to be."""
    return folder / f"{name}.{secrets.token_hex(8)}.{num_samples}.part"


def read_piece(path: Path, total_num_samples: int, start_sample: int, num_samples: int) -> bytes:
    """Return samples of both channels, planar, from a whole planar file."""
    with open(path, "rb") as file:
        return _read(file, total_num_samples, start_sample, num_samples)


class AudioSpool:
    """Audio of a known length, written in time order without gap."""

    def __init__(self, path: Path, num_samples: int) -> None:
        """The file appears with the first piece; what one left by another process already holds is not hashed yet."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._is_stored = False
        self._kept: dict[int, bytes] = {}
        self._hash = hashlib.sha256()
        self._num_hashed_bytes = 0
        self.num_samples = num_samples
        self.num_written = 0
        self.problem = ""
        """Why the audio cannot be stored; empty while all is well."""

    @classmethod
    def left_behind(cls, path: Path) -> AudioSpool:
        """Return the spool of a file of ``spool_path`` that a process which died has left, as far as it was written.

        Raises OSError, or ValueError on another name.
        """
        spool = cls(path, int(path.name.split(".")[-2]))
        spool.num_written = min(max(0, path.stat().st_size // BYTES_PER_SAMPLE - spool.num_samples), spool.num_samples)
        return spool

    @property
    def num_kept_bytes(self) -> int:
        """Memory that holds what the disk did not take."""
        return sum(map(len, self._kept.values()))

    def write(self, planar: bytes) -> None:
        """Append one piece. Never raises for the disk's sake; see ``problem``."""
        start, count = self.num_written, len(planar) // BYTES_PER_FRAME
        assert count * BYTES_PER_FRAME == len(planar) and start + count <= self.num_samples
        self.num_written += count
        if not self.problem:
            try:
                self._write_channels(start, planar)
            except OSError as error:
                self.problem = f"{self._path.parent}: {error.strerror or error}"
                log.error("audio cannot be stored: %s", self.problem)
        if self.problem:
            self._kept[start] = planar
        else:
            self._hash.update(memoryview(planar)[: len(planar) // NUM_CHANNELS])
            self._num_hashed_bytes += len(planar) // NUM_CHANNELS

    def read(self, start_sample: int, num_samples: int) -> bytes:
        """Return a piece that was written in one go, or any piece that is on disk."""
        if start_sample in self._kept:
            return self._kept[start_sample]
        if self._file is None:
            return read_piece(self._path, self.num_samples, start_sample, num_samples)
        return _read(self._file, self.num_samples, start_sample, num_samples)

    def seal(self) -> str:
        """Bring what was written to the disk and return its content address. Raises OSError.

        It may run in another thread while audio that is whole is read here; nothing is written any more.
        """
        if self.problem:
            raise OSError(self.problem)
        if self.num_written < self.num_samples:
            self._cut()
        with open(self._path, "r+b") as file:
            file.seek(self._num_hashed_bytes)
            while block := file.read(HASH_BLOCK_BYTES):
                self._hash.update(block)
            os.fsync(file.fileno())
        return self._hash.hexdigest()

    def move_to(self, path: Path) -> None:
        """Give the finished file its final name, where equal audio may lie already. Raises OSError."""
        self._close()
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self._path, path)
        self._path, self._is_stored = path, True

    def drop(self) -> None:
        """Forget the audio and remove its file, unless it was moved."""
        self._close()
        self._kept.clear()
        if not self._is_stored:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _cut(self) -> None:
        """Copy what has been written into a file of that length, the first one staying as it is until then.

        Raises OSError. Whoever dies in between leaves a file from which all of it can be taken up.
        """
        self._close()
        whole = spool_path(self._path.parent, self._path.name.rsplit(".", 3)[0], self.num_written)
        end = self.num_written * BYTES_PER_SAMPLE
        try:
            with open(self._path, "rb") as source, open(whole, "wb") as target:
                for channel in range(NUM_CHANNELS):
                    source.seek(channel * self.num_samples * BYTES_PER_SAMPLE)
                    for position in range(0, end, HASH_BLOCK_BYTES):
                        target.write(source.read(min(HASH_BLOCK_BYTES, end - position)))
            self._path.unlink()
        except OSError:
            whole.unlink(missing_ok=True)
            raise
        self._path, self.num_samples = whole, self.num_written

    def _write_channels(self, start: int, planar: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(self._path, "w+b", buffering=0)  # noqa: SIM115 (closed by move_to or drop)
        half = len(planar) // NUM_CHANNELS
        for channel in range(NUM_CHANNELS):
            position = (channel * self.num_samples + start) * BYTES_PER_SAMPLE
            _write(self._file, position, memoryview(planar)[channel * half : (channel + 1) * half])

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _write(file: IO[bytes], position: int, data: bytes | memoryview) -> None:
    """Write all of it at a place of an unbuffered file, which on a full disk may take a part. Raises OSError."""
    file.seek(position)
    written = file.write(data)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes could be written; the disk is full")


def _read(file: IO[bytes], total_num_samples: int, start_sample: int, num_samples: int) -> bytes:
    channels = []
    for channel in range(NUM_CHANNELS):
        file.seek((channel * total_num_samples + start_sample) * BYTES_PER_SAMPLE)
        channels.append(file.read(num_samples * BYTES_PER_SAMPLE))
    return b"".join(channels)
