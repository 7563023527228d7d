"""Tar shards in the WebDataset layout: ``name.wav`` (or another format) with ``name.txt`` beside it. Knows no model.

Members are found once and read by their place in the file, so a step can take any clip: a resumed run needs no
rewinding, and processes need not share a stream.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw.errors import invalid
from sa3_training.data.folder import EMPTY_CAPTION, NO_CAPTION, SUFFIXES, Fault, examine


@dataclass(frozen=True)
class ShardClip:
    """One audio file inside a shard."""

    shard: Path
    offset: int
    size: int
    name: str
    num_samples: int
    sample_rate: int
    caption: str

    def read(self, start_sample: int, num_samples: int) -> NDArray[np.float32]:
        """Return stereo audio [2, n] at the clip's own rate."""
        audio, _ = soundfile.read(self.open(), num_samples, start_sample, dtype="float32", always_2d=True)
        stereo = audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
        return np.ascontiguousarray(stereo.T)

    def blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes."""
        yield self.open().getvalue()

    @property
    def path(self) -> Path:
        """The shard the clip lies in."""
        return self.shard

    def open(self) -> io.BytesIO:
        """Return the file as it lies in the shard."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def read_shards(paths: Sequence[Path]) -> tuple[list[ShardClip], list[Fault]]:
    """Return every usable clip of the shards, in order, and what is wrong with them, by name.

    Raises InvalidField when a shard is compressed or cut off, naming it.
    """
    clips: list[ShardClip] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                members = {member.name: member for member in tar.getmembers() if member.isfile()}
        except tarfile.TarError as error:
            raise invalid("data", str(path), f"uncompressed tar files ({error})") from error
        for name, member in members.items():
            if Path(name).suffix.lower() in SUFFIXES:
                clip, found = _look_at(path, member, members.get(str(Path(name).with_suffix(".txt"))))
                clips += [clip] if clip else []
                faults += found
    return clips, faults


def _look_at(
    shard: Path, member: tarfile.TarInfo, text: tarfile.TarInfo | None
) -> tuple[ShardClip | None, list[Fault]]:
    name = f"{shard.name}/{member.name}"
    caption = _text(shard, text) if text else ""
    clip = ShardClip(shard, member.offset_data, member.size, name, 0, 0, caption)
    usable, faults = examine(clip.open, member.size, name)
    if usable is None:
        return None, faults
    if not caption:
        faults.append(Fault(name, EMPTY_CAPTION if text else NO_CAPTION, False))
    return replace(clip, num_samples=usable.num_samples, sample_rate=usable.sample_rate), faults


def _text(shard: Path, member: tarfile.TarInfo) -> str:
    with shard.open("rb") as file:
        file.seek(member.offset_data)
        return " ".join(file.read(member.size).decode("utf-8", "replace").split())
