"""A sound file -> caption and beats: what its owner wrote, what its name says, what it sounds like. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sa3_training.data.captions import compose_caption, read_name
from sa3_training.data.folder import Sound
from sa3_training.data.latents import Beats
from sa3_training.data.listen import hear


def describe(source: Sound, folder: Path) -> tuple[Sound, str, Beats | None]:
    """Return a source with its caption, made up where its owner gave none, and its beats, where they can be told."""
    facts = read_name(source.name)
    heard = hear(source, facts.bpm)
    fallback = read_name(source.path.parent.name).words or folder.name
    caption = source.caption or compose_caption(facts.words, heard.bpm, facts.key or heard.key, fallback)
    return source, caption, heard.beats


def write_captions(sources: Sequence[Sound], folder: Path) -> list[Path]:
    """Write a ``.txt`` beside every source that has no words of its owner's; return those written."""
    written = []
    for source in sources:
        if not source.caption:
            path = source.path.with_suffix(".txt")
            path.write_text(describe(source, folder)[1] + "\n", encoding="utf-8")
            written.append(path)
    return written
