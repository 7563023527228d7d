"""The embedded model follows tempo, instrument and key better than chance. Fixed seeds, the shipped weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor

import sa3_daw.embedded
from sa3_daw.generation.model import load_model
from sa3_training import measures
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.nano import CHORD_CLASSES, ON_TEMPO, PROMPTS, ROOT_CLASSES, SECONDS, tempi

EMBEDDED = Path(next(iter(sa3_daw.embedded.__path__)))
NANO = EMBEDDED / "nano"
SEEDS = range(8)
MAX_SHARD_BYTES = 15 * 2**20
MAX_TOTAL_BYTES = 60 * 2**20


@cache
def maker() -> Maker:
    return Maker(load_model(NANO, "nano"))


@cache
def clips(name: str) -> list[Tensor]:
    """Six seconds per seed, each at its own tempo."""
    torch.set_num_threads(1)
    pairs = zip(tempi(SEEDS), SEEDS, strict=True)
    return [maker().clip(PROMPTS[name], seed, bpm, SECONDS).mean(0) for bpm, seed in pairs]


@pytest.fixture(scope="module", autouse=True)
def free_the_model() -> Iterator[None]:
    yield
    clips.cache_clear()
    maker.cache_clear()


def test_the_embedded_files_are_small() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= MAX_TOTAL_BYTES
    assert max(path.stat().st_size for path in files) <= MAX_SHARD_BYTES


def test_the_card_names_sources_licences_and_limits() -> None:
    card = (NANO / "CARD.md").read_text(encoding="utf-8")
    for word in ("Fluid R3", "MIT", "MiniLM", "Apache", "cannot"):
        assert word in card, word


def test_drums_are_on_the_asked_tempo() -> None:
    bpms = tempi(SEEDS)
    asked = [measures.beat_score(clip, bpm) for clip, bpm in zip(clips("drums"), bpms, strict=True)]
    shuffled = [measures.beat_score(clip, bpm) for clip, bpm in zip(clips("drums"), bpms[1:] + bpms[:1], strict=True)]
    assert sum(score > ON_TEMPO for score in asked) >= len(SEEDS) - 1
    assert fmean(asked) > 0.15 + abs(fmean(shuffled))


def test_hats_are_brighter_than_pads_and_pads_than_bass() -> None:
    hats, pad, bass = ([measures.centroid_hertz(clip) for clip in clips(name)] for name in ("hats", "pad", "bass"))
    ordered = [a > b > c for a, b, c in zip(hats, pad, bass, strict=True)]
    assert sum(ordered) >= len(SEEDS) - 2


def test_pads_lie_in_the_key() -> None:
    in_tune = fmean(measures.spectral_share_in_tune(clip, CHORD_CLASSES) for clip in clips("pad"))
    assert in_tune > 0.05 * len(CHORD_CLASSES) + 0.15


def test_bass_notes_lie_on_the_roots() -> None:
    found = [measures.pitches_hertz(clip)[0] for clip in clips("bass")]
    assert fmean(measures.share_in_tune(hertz, ROOT_CLASSES) for hertz in found) > 0.05 * len(ROOT_CLASSES) + 0.3


def test_the_prompt_decides_more_than_the_seed() -> None:
    brightest_bass = max(measures.centroid_hertz(clip) for clip in clips("bass"))
    darkest_hats = min(measures.centroid_hertz(clip) for clip in clips("hats"))
    assert darkest_hats > 2 * brightest_bass
