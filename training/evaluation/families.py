"""Does a clip sound like what its prompt names? A small classifier of instrument families, taught by nano's corpus.

Nearest centre among log-mel statistics, in the metric of the spread within families (linear discriminants); its own
score on unseen corpus clips is the ceiling. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_training.corpus.score import DRUMS, compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renders
from sa3_training.evaluation.likeness import features

PROMPTS = {
    "hats": ("closed hi-hats", "crisp hats"),
    "kick": ("four on the floor kick", "kick drum"),
    "snare": ("snare hits", "claps"),
    "drums": ("house drums", "drum loop", "techno beat"),
    "bass": ("deep sub bass line", "synth bass"),
    "pad": ("warm pad chords", "soft pad"),
    "keys": ("electric piano chords", "chord stabs"),
    "lead": ("saw lead melody", "synth lead"),
}
"""Families and words for them; drums is a whole kit."""

SECONDS = 6.0

AUDIBLE = 30.0
"""Floor of the magnitudes, 40 dB below the loudest: which instrument plays is not decided by hiss between its notes."""

SHRINKAGE = 0.1
"""Share of the covariance's mean variance that every feature gets instead of its own: few clips, many features."""


@dataclass(frozen=True)
class Families:
    """Centres [N, F] of the named families, and the inverse covariance [F, F] of clips around their own centre."""

    names: tuple[str, ...]
    centres: Tensor
    precision: Tensor

    def rank(self, audio_CS: Tensor) -> list[str]:
        """Return all families, the likeliest first."""
        away = features(audio_CS, SAMPLE_RATE, AUDIBLE).double() - self.centres
        distances = ((away @ self.precision) * away).sum(1)
        return [self.names[index] for index in distances.argsort().tolist()]


def solo_clips(renderer: Renders, seeds: range) -> Iterator[tuple[str, Tensor]]:
    """Yield family and audio of the corpus clips in which one family plays alone."""
    for seed in seeds:
        score = compose(seed, SECONDS)
        family = "drums" if score.parts == DRUMS else score.parts[0] if len(score.parts) == 1 else ""
        if family:
            yield family, torch.from_numpy(renderer.render(score, SECONDS))


def learn(clips: Sequence[tuple[str, Tensor]]) -> Families:
    """Return the classifier of these families and clips."""
    names = tuple(sorted({name for name, _ in clips}))
    rows = torch.stack([features(audio, SAMPLE_RATE, AUDIBLE) for _, audio in clips]).double()
    labels = torch.tensor([names.index(name) for name, _ in clips])
    centres = torch.stack([rows[labels == index].mean(0) for index in range(len(names))])
    around = rows - centres[labels]
    covariance = around.T @ around / len(rows)
    mean_variance = covariance.diagonal().mean().clamp(min=1e-9)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * torch.eye(len(covariance), dtype=torch.float64)
    return Families(names, centres, torch.linalg.inv(shrunk))


def share_first(families: Families, clips: Sequence[tuple[str, Tensor]]) -> float:
    """Return the share of clips whose own family is ranked first."""
    return sum(families.rank(audio)[0] == name for name, audio in clips) / max(1, len(clips))
