"""Procedural scores: seeded notes on an exact grid. Knows no sound and no caption.

Deliberately narrow, so that a small model can learn it in CPU-hours: seven styles, one drum part, four
melodic parts, and only the notes of A natural minor / C major.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

STYLES = ("house", "techno", "hip hop", "drum and bass", "trance", "funk", "ambient")
PARTS = ("kick", "snare", "hats", "bass", "pad", "keys", "lead")
DRUMS = ("kick", "snare", "hats")
METRES = ((4, 4), (4, 4), (4, 4), (4, 4), (4, 4), (3, 4), (6, 8), (7, 8), (5, 4))

KICK, RIM, SNARE, CLAP, CLOSED_HAT, OPEN_HAT = 36, 37, 38, 39, 42, 46

PROGRESSIONS = (("Am", "F", "C", "G"), ("Am", "G", "F", "G"), ("C", "G", "Am", "F"), ("Am", "Am", "F", "F"))
CHORDS = {"Am": (57, 60, 64), "F": (57, 60, 65), "C": (55, 60, 64), "G": (55, 59, 62)}
ROOTS = {"Am": 45, "F": 41, "C": 48, "G": 43}
PAD_OCTAVE = 12
"""Pads sound above the keys: a warm pad in the keys' register is darker than the bass's overtones."""

SCALE = (69, 72, 74, 76, 79, 81)
"""A minor pentatonic, the lead's notes."""


@dataclass(frozen=True)
class Note:
    """One note of a part, in quarter notes from the clip's origin; velocity 1 to 127."""

    part: str
    pitch: int
    start_ppq: float
    length_ppq: float
    velocity: int


@dataclass(frozen=True)
class Score:
    """A clip's music: tempo, metre, style, the parts that sound and their notes in order of start."""

    seed: int
    bpm: float
    numerator: int
    denominator: int
    style: str
    parts: tuple[str, ...]
    kit: int
    notes: tuple[Note, ...]


ChooseParts = Callable[[random.Random, str], tuple[str, ...]]
"""(generator, style) -> the parts that sound."""


def choose_parts(rng: random.Random, style: str) -> tuple[str, ...]:
    """Choose which parts sound: one alone, the drums, drums and something, or most of a band."""
    kind = rng.random()
    if kind < 0.3:
        return (rng.choice(("kick", "snare", "hats", "hats", "bass", "bass", "pad", "pad", "keys", "lead")),)
    if kind < 0.5:
        return DRUMS
    melodic = rng.sample(("bass", "pad", "keys", "lead"), k=rng.choice((1, 1, 2)))
    if kind < 0.7:
        return (*DRUMS, "bass")
    drums = () if style == "ambient" and rng.random() < 0.6 else DRUMS
    chosen = {*drums, *melodic}
    return tuple(part for part in PARTS if part in chosen)


def choose_mostly_one(rng: random.Random, style: str) -> tuple[str, ...]:
    """Choose mostly one part alone, every part as often as the others: the clips that teach what a word means."""
    kind = rng.random()
    if kind < 0.62:
        return (rng.choice(PARTS),)
    if kind < 0.72:
        return DRUMS
    if kind < 0.86:
        chosen = set(rng.sample(PARTS, k=2))
    else:
        chosen = {*DRUMS, *rng.sample(("bass", "pad", "keys", "lead"), k=rng.choice((1, 1, 2)))}
    return tuple(part for part in PARTS if part in chosen)


def compose(seed: int, seconds: float, choose: ChooseParts = choose_parts) -> Score:
    """Compose enough bars to fill ``seconds``. The same seed and choice of parts give the same score."""
    rng = random.Random(seed)
    style = rng.choice(STYLES)
    bpm = round(rng.uniform(70, 180), 2) if rng.random() < 0.7 else float(rng.randint(70, 180))
    numerator, denominator = rng.choice(METRES)
    parts = choose(rng, style)
    bar_ppq = numerator * 4 / denominator
    num_bars = int(seconds * bpm / 60 / bar_ppq) + 1
    progression = rng.choice(PROGRESSIONS)
    writers = {
        "kick": _kick, "snare": _snare, "hats": _hats, "bass": _bass, "pad": _pad, "keys": _keys, "lead": _lead,
    }  # fmt: skip
    notes: list[Note] = []
    for part in parts:
        part_rng = random.Random(f"{seed} {part}")
        pattern_seed = part_rng.random()
        for bar in range(num_bars):
            chord = progression[bar % len(progression)]
            # One generator per bar with the same seed: a part repeats its pattern from bar to bar.
            bar_notes = writers[part](random.Random(pattern_seed), style, chord, numerator, denominator)
            notes += [
                Note(part, pitch, bar * bar_ppq + start, length, velocity)
                for pitch, start, length, velocity in bar_notes
            ]
    kit = rng.choice((0, 25)) if style in ("funk", "hip hop") else 25
    notes.sort(key=lambda note: (note.start_ppq, note.part, note.pitch))
    return Score(seed, bpm, numerator, denominator, style, parts, kit, tuple(notes))


BarNotes = list[tuple[int, float, float, int]]
"""(pitch, start in quarters from the bar, length in quarters, velocity)."""


def _beats(numerator: int, denominator: int) -> list[float]:
    """The strong positions of a bar in quarters: quarters in x/4, groups of eighths (3 first) in x/8."""
    if denominator == 4:
        return [float(beat) for beat in range(numerator)]
    groups = {6: (3, 3), 7: (3, 2, 2)}[numerator]
    return [sum(groups[:index]) / 2 for index in range(len(groups))]


def _sixteenths(numerator: int, denominator: int) -> int:
    return numerator * 16 // denominator


def _kick(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    beats = _beats(numerator, denominator)
    if style in ("house", "techno", "trance"):
        starts = beats
    elif style == "drum and bass":
        starts = [0.0, *([2.5] if (numerator, denominator) == (4, 4) else [])]
    else:
        starts = [0.0, rng.choice((1.5, 2.0, 2.5)) if _sixteenths(numerator, denominator) > 11 else beats[-1]]
    return [(KICK, start, 0.25, 118) for start in starts]


def _snare(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    beats = _beats(numerator, denominator)
    pitch = CLAP if style in ("house", "techno", "trance") else SNARE
    starts = beats[1::2] if denominator == 4 else beats[1:2]
    return [(pitch, start, 0.25, 108) for start in starts]


def _hats(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    steps = _sixteenths(numerator, denominator)
    offbeat_open = style in ("house", "trance") or rng.random() < 0.2
    stride = 1 if style in ("techno", "drum and bass", "funk") or rng.random() < 0.3 else 2
    notes: BarNotes = []
    for step in range(0, steps, stride):
        offbeat = step % 4 == 2
        pitch = OPEN_HAT if offbeat and offbeat_open else CLOSED_HAT
        notes.append((pitch, step / 4, 0.25, 100 if step % 2 == 0 else 75))
    return notes


def _bass(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    root = ROOTS[chord]
    quarters = numerator * 4 / denominator
    if style == "ambient":
        return [(root, 0.0, quarters, 100)]
    if style in ("house", "trance"):
        return [(root, beat + 0.5, 0.4, 105) for beat in range(int(quarters)) if beat + 0.5 < quarters]
    if style == "techno":
        return [(root, step / 4, 0.2, 105) for step in range(_sixteenths(numerator, denominator)) if step % 4]
    starts = sorted({0.0, *(rng.randrange(_sixteenths(numerator, denominator)) / 4 for _ in range(3))})
    ends = [*starts[1:], quarters]
    return [
        (root + (12 if rng.random() < 0.25 else 0), start, 0.9 * (end - start), 108)
        for start, end in zip(starts, ends, strict=True)
    ]


def _pad(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    return [(pitch + PAD_OCTAVE, 0.0, numerator * 4 / denominator, 85) for pitch in CHORDS[chord]]


def _keys(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    steps = _sixteenths(numerator, denominator)
    starts = sorted({0, *(rng.randrange(0, steps, 2) for _ in range(3))})
    return [(pitch, start / 4, 0.4, 95) for start in starts for pitch in CHORDS[chord]]


def _lead(rng: random.Random, style: str, chord: str, numerator: int, denominator: int) -> BarNotes:
    steps = _sixteenths(numerator, denominator)
    starts = sorted({0, *(rng.randrange(0, steps, 2) for _ in range(5))})
    ends = [*starts[1:], steps]
    return [
        (rng.choice(SCALE), start / 4, 0.9 * (end - start) / 4, 95) for start, end in zip(starts, ends, strict=True)
    ]
