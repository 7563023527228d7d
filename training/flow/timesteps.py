"""Noise levels t to train at: 1 is noise, 0 is data. Knows no model. Source: SPEC 8.2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sa3_daw.sampling.schedule import FullShift

LOWEST_SHARE = 0.075
"""The logit-normal draw is cut below this share and stretched over the rest, so no step is wasted on pure noise."""

HIGH_POWER = 1.5
"""Of the levels drawn high on purpose: half of them lie in the upper 35 % of their range."""

KINDS = ("trunc_logit_normal", "logit_normal", "uniform")


def draw_levels(kind: str, size: int, generator: torch.Generator) -> Tensor:
    """Return ``size`` noise levels [B] in (0, 1) of one of KINDS."""
    if kind == "uniform":
        return torch.rand(size, generator=generator)
    normal = torch.randn(size, generator=generator)
    if kind == "logit_normal":
        return torch.sigmoid(normal)
    return 1 - truncated(torch.special.ndtr(normal))


def truncated(quantile: Tensor) -> Tensor:
    """Return the logit-normal value of each quantile after the cut: 0 at quantile 0, 1 at quantile 1."""
    lowest = float(torch.special.ndtr(torch.tensor(math.log(LOWEST_SHARE / (1 - LOWEST_SHARE)), dtype=torch.float64)))
    share = torch.sigmoid(torch.special.ndtri(lowest + (1 - lowest) * quantile.double().clamp(max=1 - 1e-9)))
    return ((share - LOWEST_SHARE) / (1 - LOWEST_SHARE)).float()


def shift_for_length(t_B: Tensor, frames_B: Tensor) -> Tensor:
    """Move noise levels up for longer pieces, as the published models were trained. Source: SPEC 4.1, Full."""
    return FullShift()(t_B, frames_B.float())


def raise_some(t_B: Tensor, share: float, lowest: float, generator: torch.Generator) -> Tensor:
    """Return the levels, each drawn anew between ``lowest`` and 1, nearer 1, with the probability ``share``.

    Few-step samplers spend most of their steps where published draws are rare. Our own; a share of 0 draws nothing.
    """
    if not share:
        return t_B
    is_high = torch.rand(len(t_B), generator=generator) < share
    high = 1 - (1 - lowest) * torch.rand(len(t_B), generator=generator) ** HIGH_POWER
    return torch.where(is_high, high, t_B)
