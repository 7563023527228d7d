"""Alignment of clips with their texts by two embedders of one space, as CLAP has them. Knows no generator.

Any pair will do that keeps the two protocols: one that listens to latents, or one that decodes them and listens to
the audio. ``sa3-train`` trains a small pair on the run's own clips (``stages/align.py``). Source: arXiv 2605.17991;
CLAP: Wu et al., arXiv 2211.06687.
Shapes: B batch, D latent channels, T frames, L text tokens, W text width, E space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from sa3_training.losses.contrastive import Tower


class ClipEmbedder(Protocol):
    """Makes a unit vector of a clip's latents; gradients must pass."""

    def __call__(self, latents_BDT: Tensor, /) -> Tensor:
        """Return [B, E]."""


class TextEmbedder(Protocol):
    """Makes a unit vector of a caption's token states; ``mask_BL`` is True on real tokens."""

    def __call__(self, states_BLW: Tensor, mask_BL: Tensor, /) -> Tensor:
        """Return [B, E]."""


@dataclass(frozen=True)
class Alignment:
    """A frozen pair of embedders, and how much their verdict weighs."""

    clips: ClipEmbedder
    texts: TextEmbedder
    weight: float

    def loss(self, latents_BDT: Tensor, states_BLW: Tensor, mask_BL: Tensor) -> Tensor:
        """Return one minus the mean cosine of every clip with its own text: 0 when all agree, 1 by chance."""
        agreement: Tensor = (self.clips(latents_BDT) * self.texts(states_BLW, mask_BL)).sum(1)
        return 1 - agreement.mean()


class LatentListener(nn.Module):
    """Two convolutions over time, and a tower on what they find."""

    def __init__(self, latent_dim: int, width: int, space: int) -> None:
        super().__init__()
        self.ears = nn.Sequential(
            nn.Conv1d(latent_dim, width, 5, padding=2), nn.SiLU(), nn.Conv1d(width, width, 5, padding=2), nn.SiLU()
        )
        self.tower = Tower(width, space)

    def forward(self, latents_BDT: Tensor) -> Tensor:
        """Return [B, E]."""
        return self.tower(self.ears(latents_BDT))


class TextReader(nn.Module):
    """A tower on the mean state of the real tokens."""

    def __init__(self, text_dim: int, space: int) -> None:
        super().__init__()
        self.tower = Tower(text_dim, space)

    def forward(self, states_BLW: Tensor, mask_BL: Tensor) -> Tensor:
        """Return [B, E]."""
        mask = mask_BL[..., None].to(states_BLW.dtype)
        return self.tower((states_BLW * mask).sum(1) / mask.sum(1).clamp(min=1))
