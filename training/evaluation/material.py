"""The clips a report is about: real ones to reconstruct and compare with, and generated ones with what was asked.

Knows no measure and no page. Shapes: C channels, S samples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sa3_daw.music.key import NAMES
from sa3_training.corpus.captions import caption
from sa3_training.corpus.score import compose
from sa3_training.corpus.seeds import REPORT
from sa3_training.corpus.sounds import Renders
from sa3_training.data.describe import describe
from sa3_training.data.folder import Sound, scan
from sa3_training.data.latents import model_rate
from sa3_training.evaluation.families import PROMPTS as FAMILY_PROMPTS
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.nano import tempi

SECONDS = 6.0
MOST_CLIPS = 48
PROMPTS_PER_SEED = 4
BPMS = (100.0, 120.0, 140.0, 90.0)
KEYS = tuple(f"{name} {mode}" for name in NAMES for mode in ("major", "minor"))
PROMPTS = ("house drums", "warm pad chords", "deep sub bass line", "saw lead melody")
PITCHED = ("bass", "pad", "keys", "lead")
"""Families whose prompts name a key."""

ASKED_KEY = "A minor"


@dataclass(frozen=True)
class Real:
    """A real clip [2, S] at the model's rate, with the words it goes by and its tempo."""

    name: str
    audio_CS: Tensor
    prompt: str
    bpm: float


@dataclass(frozen=True)
class Asked:
    """A generated clip [2, S] and what it was asked for; ``key`` and ``family`` are empty where none is named."""

    audio_CS: Tensor
    bpm: float
    key: str = ""
    prompt: str = ""
    family: str = ""


def clips_of_folder(folder: Path, rate: int) -> list[Real]:
    """Return the first SECONDS of up to MOST_CLIPS files."""
    return [_from_file(source, folder, rate) for source in scan(folder).sources[:MOST_CLIPS]]


def clips_of_corpus(renderer: Renders) -> list[Real]:
    """Return clips of nano's corpus that no training saw."""
    scores = [compose(seed, SECONDS) for seed in REPORT[:MOST_CLIPS]]
    return [
        Real(
            f"corpus {score.seed}",
            torch.from_numpy(renderer.render(score, SECONDS)),
            caption(score, random.Random(score.seed)),
            score.bpm,
        )
        for score in scores
    ]


def clips_of_prompts(maker: Maker, real: Sequence[Real], seeds: range) -> list[Asked]:
    """Generate the real clips' own prompts in turn, or PROMPTS, four for every seed."""
    asked = list(dict.fromkeys((clip.prompt, clip.bpm) for clip in real))
    count = len(seeds) * PROMPTS_PER_SEED
    if not asked:
        asked = [
            (prompt, BPMS[(turn + index) % len(BPMS)]) for turn in range(4) for index, prompt in enumerate(PROMPTS)
        ]
    chosen = [(seeds[number // len(asked)], *asked[number % len(asked)]) for number in range(count)]
    return [_made(maker, prompt, bpm, seed, key_in(prompt), "") for seed, prompt, bpm in chosen]


def clips_of_families(maker: Maker, seeds: range) -> list[Asked]:
    """Generate the words for every instrument family, each seed at its own tempo, the pitched ones in ASKED_KEY."""
    made = []
    for family, prompts in FAMILY_PROMPTS.items():
        key = ASKED_KEY if family in PITCHED else ""
        for prompt in prompts:
            words = f"{prompt}, {key}" if key else prompt
            made += [_made(maker, words, bpm, seed, key, family) for seed, bpm in zip(seeds, tempi(seeds), strict=True)]
    return made


def key_in(prompt: str) -> str:
    """Return the key a prompt names, as keys are reported, or nothing."""
    return next((name for name in KEYS if name.lower() in prompt.lower()), "")


def _made(maker: Maker, prompt: str, bpm: float, seed: int, key: str, family: str) -> Asked:
    return Asked(maker.clip(prompt, seed, bpm, SECONDS), bpm, key, prompt, family)


def _from_file(source: Sound, folder: Path, rate: int) -> Real:
    audio = model_rate(
        source.read(0, min(source.num_samples, int(SECONDS * source.sample_rate))), source.sample_rate, rate
    )
    _, words, beats = describe(source, folder)
    return Real(source.name, torch.from_numpy(audio), words, beats.bpm if beats else 120.0)
