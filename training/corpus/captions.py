"""Captions: what a person might type for a score. Knows no sound; the tempo is told by the beat grid too."""

from __future__ import annotations

import random

from sa3_training.corpus.score import DRUMS, Score

WORDS: dict[str, tuple[str, ...]] = {
    "kick": ("kick drum", "kick", "bass drum", "four on the floor kick"),
    "snare": ("snare", "clap", "snare hits", "claps"),
    "hats": ("hi-hats", "hats", "closed hi-hats", "hi-hat loop", "crisp hats"),
    "drums": ("drums", "drum loop", "beat", "drum beat", "drum groove", "percussion loop"),
    "bass": ("bass", "bass line", "synth bass", "deep sub bass line", "bassline"),
    "pad": ("pad", "warm pad", "soft pad chords", "synth pads", "warm pad chords"),
    "keys": ("keys", "electric piano", "electric piano chords", "chord stabs"),
    "lead": ("lead", "synth lead", "saw lead melody", "melody"),
}
"""Synonyms per part; ``drums`` stands for kick, snare and hats together."""

EXTRAS = ("", "", "", "", " loop", " groove", ", clean", ", punchy")


def named_parts(score: Score) -> list[str]:
    """Return the parts as a listener names them: a whole kit is ``drums``."""
    parts = list(score.parts)
    if all(drum in parts for drum in DRUMS):
        parts = ["drums", *(part for part in parts if part not in DRUMS)]
    return parts


def caption(score: Score, rng: random.Random) -> str:
    """Write one caption; most name the style and every part, some only one of the two."""
    words = [rng.choice(WORDS[part]) for part in named_parts(score)]
    rng.shuffle(words)
    parts = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    kind = rng.random()
    if kind < 0.7:
        text = f"{score.style} {parts}"
    elif kind < 0.9:
        text = parts
    else:
        text = f"{score.style} with {parts}" if len(words) < 3 else score.style
    text += rng.choice(EXTRAS)
    if rng.random() < 0.3:
        text += f", {score.bpm:g} BPM"
    if rng.random() < 0.15:
        text += ", A minor"
    return text
