"""Samplers: generators that yield the state after each step. They take a callable and know no model.

t is 1 at noise and 0 at data; the callable returns the velocity v = noise - data at (x, t). A grid is
[steps + 1], or [B, steps + 1] with one row per item. Shapes: B batch, D latent channels, T frames.
Source: SPEC 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x [B, D, T], t [B]) -> v [B, D, T]."""

Draw = Callable[[], Tensor]
"""Returns fresh unit normal noise of x's shape."""


@dataclass(frozen=True)
class Step:
    """State after one step: ``x`` at the next noise level and the clean estimate ``denoised``."""

    index: int
    x_BDT: Tensor
    denoised_BDT: Tensor


def sampler_steps(name: str, velocity: Velocity, x_BDT: Tensor, grid: Tensor, draw: Draw) -> Iterator[Step]:
    """Return the sampler of that name, one of ``specs.SAMPLERS``; only pingpong draws noise."""
    if name == "pingpong":
        return pingpong(velocity, x_BDT, grid, draw)
    return {"euler": euler, "dpmpp": dpmpp, "rk4": rk4}[name](velocity, x_BDT, grid)


def euler(velocity: Velocity, x_BDT: Tensor, grid: Tensor) -> Iterator[Step]:
    """First-order ODE steps; the default of base models."""
    for index, (t, t_next) in enumerate(_levels(grid, x_BDT)):
        v = velocity(x_BDT, t)
        denoised = x_BDT - _wide(t) * v
        x_BDT = x_BDT + _wide(t_next - t) * v
        yield Step(index, x_BDT, denoised)


def rk4(velocity: Velocity, x_BDT: Tensor, grid: Tensor) -> Iterator[Step]:
    """Fourth-order Runge-Kutta steps: four model calls each, the last one a hair above data, where t may divide."""
    for index, (t, t_next) in enumerate(_levels(grid, x_BDT)):
        dt = _wide(t_next - t)
        middle = t + (t_next - t) / 2
        k1 = velocity(x_BDT, t)
        k2 = velocity(x_BDT + dt / 2 * k1, middle)
        k3 = velocity(x_BDT + dt / 2 * k2, middle)
        end = t_next.clamp(min=1e-5)
        k4 = velocity(x_BDT + _wide(end - t) * k3, end)
        denoised = x_BDT - _wide(t) * k1
        x_BDT = x_BDT + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        yield Step(index, x_BDT, denoised)


def dpmpp(velocity: Velocity, x_BDT: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver++ (2M): one model call a step, the previous estimate extrapolated in logSNR."""
    previous: tuple[Tensor, Tensor] | None = None
    for index, (t, t_next) in enumerate(_levels(grid, x_BDT)):
        denoised = x_BDT - _wide(t) * velocity(x_BDT, t)
        target = denoised
        if previous is not None:
            t_before, denoised_before = previous
            ratio = (_logsnr(t) - _logsnr(t_before)) / (_logsnr(t_next) - _logsnr(t))
            extrapolated = denoised + _wide(1 / (2 * ratio)) * (denoised - denoised_before)
            target = torch.where(_wide(t_next) == 0, denoised, extrapolated)
        coefficient = (t_next - t) / ((1 - t_next).clamp(min=1e-10) * t.clamp(min=1e-10))
        x_BDT = _wide(t_next / t) * x_BDT - _wide((1 - t_next) * coefficient) * target
        previous = (t, denoised)
        yield Step(index, x_BDT, denoised)


def pingpong(velocity: Velocity, x_BDT: Tensor, grid: Tensor, draw: Draw) -> Iterator[Step]:
    """Denoise fully, then renoise to the next level with fresh noise; for distilled models.

    Noise is drawn at every step, the last one's included, to keep the published random stream.
    """
    for index, (t, t_next) in enumerate(_levels(grid, x_BDT)):
        denoised = x_BDT - _wide(t) * velocity(x_BDT, t)
        x_BDT = _wide(1 - t_next) * denoised + _wide(t_next) * draw()
        yield Step(index, x_BDT, denoised)


def _levels(grid: Tensor, x_BDT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (t, next t), each [B] float32 on x's device."""
    levels = grid.to(x_BDT.device).expand(x_BDT.shape[0], -1).unbind(dim=-1)
    return pairwise(levels)


def _wide(t_B: Tensor) -> Tensor:
    return t_B[:, None, None]


def _logsnr(t_B: Tensor) -> Tensor:
    return torch.log((1 - t_B).clamp(min=1e-10) / t_B.clamp(min=1e-10))
