"""Tar shards in the WebDataset layout: ``name.wav`` (or another format) with ``name.txt`` beside it. Knows no model.

Members are found once and read by their place in the file, so a step can take any clip: a resumed run needs no
rewinding, and processes need not share a stream.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw.errors import invalid
from sa3_training.checkpoints import replace_file
from sa3_training.data.folder import SUFFIXES, Source

SHARD_BYTES = 256 << 20


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
        audio, _ = soundfile.read(self._open(), num_samples, start_sample, dtype="float32", always_2d=True)
        stereo = audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
        return np.ascontiguousarray(stereo.T)

    def blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes."""
        yield self._open().getvalue()

    @property
    def path(self) -> Path:
        """The shard the clip lies in."""
        return self.shard

    def _open(self) -> io.BytesIO:
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def read_shards(paths: Sequence[Path]) -> tuple[list[ShardClip], list[str]]:
    """Return every readable clip of the shards, in order, and what is wrong with the others, by name.

    Raises InvalidField when a shard is compressed or cut off, naming it.
    """
    clips, faults = [], []
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                members = {member.name: member for member in tar.getmembers() if member.isfile()}
        except tarfile.TarError as error:
            raise invalid("data", str(path), f"uncompressed tar files ({error})") from error
        for name, member in members.items():
            if Path(name).suffix.lower() not in SUFFIXES:
                continue
            clip = ShardClip(path, member.offset_data, member.size, f"{path.name}/{name}", 0, 0, "")
            try:
                info = soundfile.info(clip._open())
            except (soundfile.LibsndfileError, OSError) as error:
                faults.append(f"{clip.name}: cannot be read: {error}")
                continue
            text = members.get(str(Path(name).with_suffix(".txt")))
            caption = _text(path, text.offset_data, text.size) if text else ""
            clips.append(
                ShardClip(path, member.offset_data, member.size, clip.name, info.frames, info.samplerate, caption)
            )
    return clips, faults


def write_shards(sources: Iterable[Source], folder: Path, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """Pack audio files and their captions into ``folder/00000.tar`` and so on. Raises DiskFull."""
    paths: list[Path] = []
    group: list[Source] = []
    size = 0
    for source in sources:
        if group and size + source.path.stat().st_size > shard_bytes:
            paths.append(_write_shard(group, folder / f"{len(paths):05d}.tar"))
            group, size = [], 0
        group.append(source)
        size += source.path.stat().st_size
    if group:
        paths.append(_write_shard(group, folder / f"{len(paths):05d}.tar"))
    return paths


def _write_shard(sources: Sequence[Source], path: Path) -> Path:
    def fill(file: object) -> None:
        with tarfile.open(fileobj=file, mode="w:") as tar:  # type: ignore[call-overload]
            for number, source in enumerate(sources):
                key = f"{number:06d}-{source.path.stem}"
                tar.add(source.path, f"{key}{source.path.suffix.lower()}")
                text = source.caption.encode()
                entry = tarfile.TarInfo(f"{key}.txt")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text))

    replace_file(path, fill)
    return path


def _text(path: Path, offset: int, size: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return " ".join(file.read(size).decode("utf-8", "replace").split())
