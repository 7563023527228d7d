"""Noise levels: decreasing grids of t from 1 (noise) to 0 (data). Knows no model and no sampler.

logSNR here is ln((1 - t) / t), of amplitudes; the power SNR is twice that. Source: SPEC 4.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

HALVINGS = 40
"""Bisection steps; they end below float32's ulp."""

TINY_TAU = 1e-6
"""An inverse at or below this means that the shift never gets as low as asked."""


class Shift(Protocol):
    """Warps tau in [0, 1] to t in [0, 1], both [..., steps + 1]; ``frames`` broadcasts against tau."""

    def __call__(self, tau: Tensor, frames: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LogSNRShift:
    """t evenly spaced in logSNR; the default of all published models with rate 0 (length independent)."""

    anchor_frames: float = 2000.0
    anchor_logsnr: float = -6.2
    rate: float = 0.0
    end_logsnr: float = 2.0

    def __call__(self, tau: Tensor, frames: Tensor) -> Tensor:
        start = self.anchor_logsnr - self.rate * torch.log2(frames / self.anchor_frames)
        logsnr = self.end_logsnr - tau * (self.end_logsnr - start)
        t = torch.sigmoid(-logsnr)
        return torch.where(tau <= 0, 0.0, torch.where(tau >= 1, 1.0, t))


@dataclass(frozen=True)
class FullShift:
    """The training shift: longer pieces see more noise; ``sine`` bends the ends."""

    min_frames: float = 256.0
    max_frames: float = 4096.0
    sine: bool = False

    def __call__(self, tau: Tensor, frames: Tensor) -> Tensor:
        share = (frames.clamp(self.min_frames, self.max_frames) - self.min_frames) / (self.max_frames - self.min_frames)
        factor = torch.exp(-(0.5 + 0.65 * share))
        t = 1 - factor / (factor + (1 / (1 - tau) - 1))
        return torch.sin(math.pi / 2 * t) if self.sine else t


@dataclass(frozen=True)
class FluxShift:
    """t = a tau / (1 + (a - 1) tau), ln a linear in the length between the two anchors."""

    min_alpha: float = 1.0
    max_alpha: float = 1.0
    min_frames: float = 256.0
    max_frames: float = 4096.0

    def __call__(self, tau: Tensor, frames: Tensor) -> Tensor:
        share = (torch.log(frames) - math.log(self.min_frames)) / math.log(self.max_frames / self.min_frames)
        alpha = torch.exp(math.log(self.min_alpha) + share.clamp(0, 1) * math.log(self.max_alpha / self.min_alpha))
        return alpha * tau / (1 + (alpha - 1) * tau)


@dataclass(frozen=True)
class NoShift:
    """t = tau."""

    def __call__(self, tau: Tensor, frames: Tensor) -> Tensor:
        return tau


def t_grid(num_steps: int, shift: Shift, frames: Tensor, start_t: float = 1.0) -> Tensor:
    """Return strictly decreasing t, float32 [..., num_steps + 1], from ``start_t`` to 0.

    ``frames`` is a float tensor, [] for one grid or [B, 1] for one per item. With ``start_t`` < 1
    (audio-to-audio) the grid starts where the warped full grid crosses ``start_t``, so it stays
    monotone; the published code does not (see ``published_t_grid``). Below the lowest level a shift
    reaches (0.12 by default) the grid falls linearly.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; allowed: 1 or more")
    tau = torch.linspace(1, 0, num_steps + 1, dtype=torch.float32)
    if start_t == 1:
        return _with_start(shift(tau, frames), start_t)
    start_tau = _inverse(shift, start_t, frames)
    return _with_start(torch.where(start_tau > TINY_TAU, shift(tau * start_tau, frames), tau * start_t), start_t)


def published_t_grid(num_steps: int, shift: Shift, frames: Tensor, start_t: float) -> Tensor:
    """Return the published code's grid: scaled before the warp, hence not monotone for ``start_t`` < 1.

    Equal to ``t_grid`` at ``start_t`` 1. Only conformance needs it (DIFFS D2).
    """
    tau = torch.linspace(start_t, 0, num_steps + 1, dtype=torch.float32)
    return _with_start(shift(tau, frames), start_t)


def _with_start(t: Tensor, start_t: float) -> Tensor:
    t = t.clone()
    t[..., 0] = start_t
    return t


def _inverse(shift: Shift, t: float, frames: Tensor) -> Tensor:
    """Solve shift(tau) = t by bisection; every shift is monotone."""
    low = torch.zeros(frames.shape, dtype=torch.float64)
    high = torch.ones(frames.shape, dtype=torch.float64)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = shift(middle, frames.double()) > t
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low + high) / 2).float()
