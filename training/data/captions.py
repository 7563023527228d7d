"""Captions made from a file's name, and what tempo and key that name tells. Knows no audio and no model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BPM_RANGE = (40.0, 260.0)
_BPM = re.compile(
    r"(?<![\d.])(\d{2,3}(?:\.\d+)?)\s*[-_ ]?\s*bpm|bpm\s*[-_ ]?\s*(\d{2,3}(?:\.\d+)?)(?!\d)", re.IGNORECASE
)
_KEY = re.compile(
    r"(?<![A-Za-z0-9#])([A-G])(#|b|♯|♭|[-_ ]?sharp|[-_ ]?flat)?[-_ ]?(minor|major|min|maj|m)(?![A-Za-z0-9])"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CODE = re.compile(r"\d+[a-z]?|v\d+|[a-z]\d+|take\d*|final|mix(down)?|master(ed)?|export|bounce|untitled|audio|copy")
"""Words of a file name that tell nothing of its sound."""


@dataclass(frozen=True)
class NameFacts:
    """What a file's name tells: its words, and tempo and key where they stand in it."""

    words: str
    bpm: float | None
    key: str | None


def read_name(name: str) -> NameFacts:
    """Read words, tempo (``92bpm``) and key (``F#min``, ``Am``) from a file name with its folders."""
    stem = Path(name).stem
    bpm = next((float(a or b) for a, b in _BPM.findall(stem)), None)
    if bpm is not None and not BPM_RANGE[0] <= bpm <= BPM_RANGE[1]:
        bpm = None
    stem = _BPM.sub(" ", stem)
    key = None
    if match := _KEY.search(stem):
        key = spoken_key(match[1], match[2] or "", match[3])
        stem = stem[: match.start()] + " " + stem[match.end() :]
    words = re.split(r"[^A-Za-z0-9'&]+", _CAMEL.sub(" ", stem))
    kept = [word.lower() for word in words if len(word) > 1 and not _CODE.fullmatch(word.lower())]
    return NameFacts(" ".join(kept), bpm, key)


def spoken_key(tonic: str, accidental: str, mode: str) -> str:
    """Return a key as captions say it: ``F# minor``."""
    sign = {"": "", "#": "#", "♯": "#", "b": "b", "♭": "b"}.get(accidental)
    if sign is None:
        sign = "#" if "sharp" in accidental.lower() else "b"
    return f"{tonic.upper()}{sign} {'major' if mode.lower().startswith('maj') else 'minor'}"


def compose_caption(words: str, bpm: float | None, key: str | None, fallback: str) -> str:
    """Return a caption in the words models are trained on; ``fallback`` where a name says nothing."""
    parts = [words or fallback]
    if bpm:
        parts.append(f"{bpm:g} BPM")
    if key:
        parts.append(key)
    return ", ".join(parts)
