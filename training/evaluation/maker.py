"""Clips that one model makes, each of them once: the same words, seed, tempo and length are the same clip.

Knows no measure and no page. Shapes: C channels, S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sa3_daw.generation.model import LoadedModel
from sa3_training.lora.preview import generate


class Maker:
    """Makes clips with the model's own steps and guidance."""

    def __init__(self, model: LoadedModel) -> None:
        self.rate = model.spec.sample_rate
        self._model = model
        self._made: dict[tuple[str, int, float, float], Tensor] = {}

    def clip(self, prompt: str, seed: int, bpm: float, seconds: float) -> Tensor:
        """Return audio [2, S] in 4/4 from the first bar on."""
        asked = (prompt, seed, bpm, seconds)
        if asked not in self._made:
            self._made[asked] = torch.from_numpy(generate(self._model, prompt, seed, bpm=bpm, seconds=seconds))
        return self._made[asked]
