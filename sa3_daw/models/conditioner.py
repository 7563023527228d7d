"""Text states and a duration -> the DiT's conditioning tensors. Knows no tokenizer, no prompt rule and no file.

Shapes: B batch, L text tokens, D conditioning width, T latent frames. Source: SPEC 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sa3_daw.models.specs import ConditioningSpec

FOURIER_DIM = 256
MIN_FREQUENCY, MAX_FREQUENCY = 0.5, 10_000.0


def fourier_features(values_B: Tensor, dim: int) -> Tensor:
    """Return [B, dim] float32: cosines, then sines, of exponentially spaced frequencies ("expo")."""
    return features_at(values_B, fourier_frequencies(dim).to(values_B.device))


def fourier_frequencies(dim: int) -> Tensor:
    """Return the dim / 2 frequencies, made on the CPU for every device.

    The order of the float32 operations is part of the format: phases reach 62,832 rad, where another association, or
    a GPU's exponential, changes a tiny model's output by 3e-3 (SPEC 2.2).
    """
    low, high = math.log(MIN_FREQUENCY), math.log(MAX_FREQUENCY)
    ramp = torch.linspace(0, 1, dim // 2, device="cpu", dtype=torch.float32)
    return torch.exp(ramp * (high - low) + low)


def features_at(values_B: Tensor, frequencies: Tensor) -> Tensor:
    """Return the Fourier features of values, both on one device."""
    phases = values_B.float()[:, None] * frequencies * 2 * math.pi
    return torch.cat((phases.cos(), phases.sin()), dim=-1)


@dataclass(frozen=True)
class Conditioning:
    """What steers one DiT call.

    ``context`` [B, L+1, D] or None; ``global_`` [B, D]; ``local`` [B, 1 + latent_dim (+ beat grid), T]
    or None, channels in the order inpaint keep-mask (1 keeps), masked latents, beat grid.
    """

    context: Tensor | None
    global_: Tensor
    local: Tensor | None


class NumberConditioner(nn.Module):
    """Duration in seconds -> one token. Source: SPEC 2.2.

    The seconds and their features stay float32 in any precision; only the features are cast.
    """

    def __init__(self, minimum: float, maximum: float, dim: int) -> None:
        super().__init__()
        self.minimum, self.maximum = minimum, maximum
        self.embedder = nn.ModuleDict({"embedding": nn.Sequential(nn.Identity(), nn.Linear(FOURIER_DIM, dim))})

    def forward(self, seconds_B: Tensor) -> Tensor:
        """[B] seconds, clamped to the model's range -> [B, D]."""
        clamped = seconds_B.float().clamp(self.minimum, self.maximum)
        features = fourier_features((clamped - self.minimum) / (self.maximum - self.minimum), FOURIER_DIM)
        embedding = self.embedder["embedding"]
        result: Tensor = embedding(features.to(next(embedding.parameters()).dtype))
        return result


class PaddedPrompt(nn.Module):
    """Text-encoder states with every padded position replaced by one learned vector. Source: SPEC 2.1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.padding_embedding = nn.Parameter(torch.randn(dim).mul_(0.02))

    def forward(self, states_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        return torch.where(mask_BL[..., None].bool(), states_BLD.to(self.padding_embedding), self.padding_embedding)


class Conditioner(nn.Module):
    """Routes prompt and duration into context (prompt tokens, duration token last) and global conditioning."""

    def __init__(self, spec: ConditioningSpec) -> None:
        super().__init__()
        self.conditioners = nn.ModuleDict(
            {
                "prompt": PaddedPrompt(spec.cond_dim),
                "seconds_total": NumberConditioner(spec.min_seconds, spec.max_seconds, spec.cond_dim),
            }
        )

    def forward(self, states_BLD: Tensor, mask_BL: Tensor, seconds_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return context [B, L+1, D] and global conditioning [B, D]."""
        prompt = self.conditioners["prompt"](states_BLD, mask_BL)
        duration = self.conditioners["seconds_total"](seconds_B)
        return torch.cat((prompt, duration[:, None]), dim=1), duration

    def negative_context(self, states_BLD: Tensor, mask_BL: Tensor, seconds_B: Tensor) -> Tensor:
        """Return the context of a negative prompt: padding is zero here, the duration token stays (SPEC 3.4)."""
        duration = self.conditioners["seconds_total"](seconds_B)
        states = states_BLD.to(duration) * mask_BL[..., None].to(duration)
        return torch.cat((states, duration[:, None]), dim=1)
