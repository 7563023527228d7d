"""What a file tells of its tempo and where its bars start. Knows no caption and no model."""

from __future__ import annotations

from dataclasses import dataclass

from sa3_training.data.folder import Sound
from sa3_training.data.latents import Beats


@dataclass(frozen=True)
class Heard:
    """What could be told, or None."""

    bpm: float | None
    key: str | None
    beats: Beats | None


def hear(source: Sound, named_bpm: float | None) -> Heard:
    """Return the tempo of the file's name; loops start on a bar."""
    return Heard(named_bpm, None, Beats(named_bpm, 0.0) if named_bpm else None)
