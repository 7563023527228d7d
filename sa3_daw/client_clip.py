"""A job's variations, put together from their chunks in memory or on disk, and checked. Knows no socket."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS
from sa3_daw.edits import merged
from sa3_daw.errors import EngineError
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job, Region
from sa3_daw.protocol.messages import Finished, Take
from sa3_daw.take import TakeMade

BYTES_PER_SAMPLE = BYTES_PER_FRAME // NUM_CHANNELS


@dataclass(frozen=True)
class TakeResult:
    """One variation, complete: ``samples`` float32 [2, job.num_samples], and the names it is stored under."""

    samples: NDArray[np.float32]
    take: Take


@dataclass(frozen=True)
class Result:
    """A finished job. ``samples`` are the first variation's."""

    samples: NDArray[np.float32]
    job: Job
    finished: Finished
    takes: tuple[TakeResult, ...]


class Held(Protocol):
    """Stereo audio of a known length that comes piece by piece."""

    def write(self, start_sample: int, samples_CS: NDArray[np.float32]) -> None:
        """Keep one piece. Raises OSError."""

    def whole(self) -> NDArray[np.float32]:
        """Return all of it, [2, n], also for later than ``close``; nothing is written any more."""

    def close(self) -> None:
        """Let go of what has not been returned."""


Hold = Callable[[int], Held]
"""A number of samples -> where so many are kept."""


class InMemory:
    """Audio in memory."""

    def __init__(self, num_samples: int) -> None:
        self._samples = np.empty((NUM_CHANNELS, num_samples), dtype=np.float32)

    def write(self, start_sample: int, samples_CS: NDArray[np.float32]) -> None:
        self._samples[:, start_sample : start_sample + samples_CS.shape[1]] = samples_CS

    def whole(self) -> NDArray[np.float32]:
        return self._samples

    def close(self) -> None:
        del self._samples


class OnDisk:
    """Audio in a file without a name that goes with the last use of it, and is read back as it is used."""

    def __init__(self, folder: Path, num_samples: int) -> None:
        self._folder = folder
        self._num_samples = num_samples
        self._file = TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 (closed by close)

    def write(self, start_sample: int, samples_CS: NDArray[np.float32]) -> None:
        try:
            for channel, samples in enumerate(samples_CS):
                self._file.seek((channel * self._num_samples + start_sample) * BYTES_PER_SAMPLE)
                content = np.ascontiguousarray(samples, dtype="<f4").tobytes()
                if self._file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._folder)) from error

    def whole(self) -> NDArray[np.float32]:
        return np.memmap(self._file, dtype="<f4", mode="r", shape=(NUM_CHANNELS, self._num_samples))

    def close(self) -> None:
        self._file.close()


class Clip:
    """Puts a job's variations together from their chunks, and checks them; drafts are left out."""

    def __init__(self, job: Job, hold: Hold) -> None:
        self._job = job
        self._hold = hold
        self._held: dict[int, Held] = {}
        self._num_received: dict[int, int] = {}
        self._takes: list[TakeResult] = []

    def add(self, chunk: AudioChunk) -> None:
        """Keep a chunk. Raises EngineError when another was due, or OSError."""
        if chunk.draft:
            return
        start = self._num_received.get(chunk.variation, 0)
        end = start + chunk.samples.shape[1]
        if chunk.start_sample != start or end > self._job.num_samples:
            raise EngineError(f"audio chunk at {chunk.start_sample}, expected at {start}")
        if chunk.variation not in self._held:
            self._held[chunk.variation] = self._hold(self._job.num_samples)
        self._held[chunk.variation].write(start, chunk.samples)
        self._num_received[chunk.variation] = end

    def complete(self, take: Take) -> None:
        """Check a variation against what the daemon says of it. Raises EngineError when they differ."""
        variation = take.made.variation
        received = self._num_received.get(variation, 0)
        if received != self._job.num_samples:
            raise EngineError(f"{received} of {self._job.num_samples} samples of variation {variation} arrived")
        samples = self._held[variation].whole()
        if take.audio and audio_address(samples) != take.audio:
            raise EngineError(f"variation {variation} is stored as other audio than what arrived")
        if take.made.kept_sha256 and kept_sha256(samples, take.made) != take.made.kept_sha256:
            raise EngineError(f"samples of variation {variation} that were to be kept have changed")
        self._takes.append(TakeResult(samples, take))

    def close(self) -> None:
        """Let go of audio that is in no result."""
        for held in self._held.values():
            held.close()

    def result(self, finished: Finished) -> Result:
        """Return all variations. Raises EngineError when some are missing."""
        if len(self._takes) != self._job.num_variations:
            raise EngineError(f"{len(self._takes)} of {self._job.num_variations} variations arrived")
        return Result(self._takes[0].samples, self._job, finished, tuple(self._takes))


def audio_address(samples_CS: NDArray[np.float32]) -> str:
    """Return the content address of stereo audio [2, n]."""
    return hashlib.sha256(np.ascontiguousarray(samples_CS, dtype="<f4").data).hexdigest()


def kept_sha256(samples_CS: NDArray[np.float32], made: TakeMade) -> str:
    """Return the SHA-256 of every sample outside the changed ranges, in time order per channel."""
    digest, num_samples = hashlib.sha256(), samples_CS.shape[1]
    for channel in samples_CS:
        position = 0
        for region in (*merged(made.changed), Region(num_samples, num_samples)):
            digest.update(np.ascontiguousarray(channel[position : region.start_sample], dtype="<f4").data)
            position = region.end_sample
    return digest.hexdigest()
