"""A folder of audio and captions -> what can be trained on, and what is wrong with the rest. Knows no model.

Every fault is told by file name. A file that cannot help is left out; one that can, but less well than it might, is
used and mentioned. Nothing here writes into the user's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw.errors import invalid

SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".w64", ".caf"})
MOST_SECONDS_PER_FILE = 600.0
"""Of a longer file the first ten minutes are used: one long file must not drown the others."""

SHORTEST_SECONDS = 0.1
SILENCE_PEAK = 10 ** (-60 / 20)
FULL_SCALE = 0.999
CLIPPED_SHARE = 1e-3
"""More samples than this at full scale are called clipped; mastered music stays well below."""

LOW_RATE = 32_000
BLOCK_SAMPLES = 1 << 18
NO_CAPTION = "has no caption; one is made from its name and sound"
EMPTY_CAPTION = "has an empty caption; one is made from its name and sound"


@dataclass(frozen=True)
class Fault:
    """Something wrong with one file, in words for its owner."""

    name: str
    what: str
    left_out: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.what}{' (left out)' if self.left_out else ''}"


def in_words(faults: Sequence[Fault]) -> list[str]:
    """Return one line for each thing that is wrong, with all the files it is wrong with."""
    names: dict[tuple[str, bool], list[str]] = {}
    for fault in faults:
        names.setdefault((fault.what, fault.left_out), []).append(fault.name)
    return [str(Fault(", ".join(files), what, left_out)) for (what, left_out), files in names.items()]


class Sound(Protocol):
    """A usable audio file of any container: a file of its own, or one inside a shard."""

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def num_samples(self) -> int: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def caption(self) -> str: ...
    def read(self, start_sample: int, num_samples: int) -> NDArray[np.float32]:
        """Return stereo audio [2, n] at the file's own rate."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes."""
        ...


def seconds_of(sounds: Iterable[Sound]) -> float:
    """Return how long some sounds are together."""
    return sum(sound.num_samples / sound.sample_rate for sound in sounds)


@dataclass(frozen=True)
class Source:
    """One usable audio file. ``num_samples`` at ``sample_rate`` is what is used of it; ``caption`` may be empty."""

    path: Path
    name: str
    num_samples: int
    sample_rate: int
    num_channels: int
    caption: str

    def read(self, start_sample: int, num_samples: int) -> NDArray[np.float32]:
        """Return stereo audio [2, n] at the file's own rate; mono is doubled, beyond two channels are dropped."""
        audio, _ = soundfile.read(self.path, num_samples, start_sample, dtype="float32", always_2d=True)
        stereo = audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
        return np.ascontiguousarray(stereo.T)

    def blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes."""
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block


@dataclass(frozen=True)
class Scan:
    """What a folder holds."""

    sources: tuple[Source, ...]
    faults: tuple[Fault, ...]

    @property
    def minutes(self) -> float:
        """Usable audio altogether."""
        return seconds_of(self.sources) / 60


def scan(folder: Path) -> Scan:
    """Look at every audio file beneath ``folder``, in order of name, reading each once.

    Raises InvalidField when the folder is missing or holds nothing that can be trained on, listing every fault.
    """
    if not folder.is_dir():
        raise invalid("data", str(folder), "a folder of audio files")
    sources, faults = [], []
    for path in audio_files(folder):
        source, found = _look_at(path, path.relative_to(folder).as_posix())
        faults += found
        if source:
            sources.append(source)
    if not sources:
        listed = "; ".join(map(str, faults)) or f"it holds no {', '.join(sorted(SUFFIXES))} file"
        raise invalid("data", str(folder), f"a folder with at least one usable audio file ({listed})")
    return Scan(tuple(sources), tuple(faults))


def audio_files(folder: Path) -> Iterator[Path]:
    """Yield every file beneath a folder that looks like audio, in order of name."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(root) / name


def _look_at(path: Path, name: str) -> tuple[Source | None, list[Fault]]:
    usable, faults = examine(lambda: path, path.stat().st_size, name)
    if usable is None:
        return None, faults
    caption, note = _caption(path)
    faults += [Fault(name, note, False)] if note else []
    return Source(path, name, usable.num_samples, usable.sample_rate, usable.num_channels, caption), faults


@dataclass(frozen=True)
class Usable:
    """What can be used of one audio file."""

    num_samples: int
    sample_rate: int
    num_channels: int


def examine(content: Callable[[], Path | BinaryIO], num_bytes: int, name: str) -> tuple[Usable | None, list[Fault]]:
    """Read an audio file once, wherever it lies; return what can be used of it, if anything, and what is wrong."""
    if num_bytes == 0:
        return None, [Fault(name, "is an empty file", True)]
    try:
        info = soundfile.info(content())
        used = min(info.frames, int(MOST_SECONDS_PER_FILE * info.samplerate))
        peak, clipped, finite, read = _levels(content(), used)
    except soundfile.LibsndfileError as error:
        return None, [Fault(name, f"cannot be read: {error.error_string}", True)]
    except OSError as error:
        return None, [Fault(name, f"cannot be read: {error}", True)]
    if read < SHORTEST_SECONDS * info.samplerate:
        return None, [Fault(name, f"is only {1000 * read / info.samplerate:.0f} ms long", True)]
    if not finite:
        return None, [Fault(name, "holds NaN or infinity", True)]
    if peak < SILENCE_PEAK:
        return None, [Fault(name, "is silent (peak below -60 dBFS)", True)]
    notes = []
    if read < used:
        notes.append(f"ends after {read / info.samplerate:.1f} s, its header promises {info.duration:.1f} s")
    if clipped > CLIPPED_SHARE:
        notes.append(f"is clipped ({100 * clipped:.1f} % of its samples at full scale); the model will learn that")
    if info.samplerate < LOW_RATE:
        notes.append(f"has a rate of {info.samplerate} Hz: nothing above {info.samplerate / 2000:g} kHz can be learned")
    if info.channels == 1:
        notes.append("is mono; both channels get it")
    elif info.channels > 2:
        notes.append(f"has {info.channels} channels; the first two are used")
    if info.frames > used:
        notes.append(f"is {info.duration / 60:.0f} minutes long; the first {MOST_SECONDS_PER_FILE / 60:.0f} are used")
    return Usable(read, info.samplerate, info.channels), [Fault(name, note, False) for note in notes]


def _levels(content: Path | BinaryIO, used: int) -> tuple[float, float, bool, int]:
    """Return peak, share of samples at full scale, whether all are finite, and how many can really be read."""
    peak, clipped, finite, read = 0.0, 0, True, 0
    for block in soundfile.blocks(content, BLOCK_SAMPLES, frames=used, dtype="float32", always_2d=True):
        size = np.abs(block)
        block_peak = float(size.max(initial=0.0))
        finite = finite and bool(np.isfinite(block_peak))
        peak = max(peak, block_peak)
        clipped += int((size >= FULL_SCALE).any(axis=1).sum())
        read += len(block)
    return peak, clipped / max(1, read), finite, read


def _caption(path: Path) -> tuple[str, str]:
    """Return the words of the ``.txt`` beside the file and what is wrong with them; empty when there is nothing."""
    sidecar = path.with_suffix(".txt")
    if not sidecar.exists():
        return "", NO_CAPTION
    try:
        text = " ".join(sidecar.read_text("utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        return "", f"has an unreadable caption ({error}); one is made from its name and sound"
    return (text, "") if text else ("", EMPTY_CAPTION)
