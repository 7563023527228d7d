"""Phase loss by differences, which hearing follows and absolute phase does not. Knows no model.

Instantaneous frequency is how the phase of a bin turns from window to window; group delay how it turns from bin to
bin. Both are compared as angles on the circle, weighted by the target's magnitude, so silence has no say.
Source: arXiv 2605.17991 (SAME); the two errors: Ai and Ling, arXiv 2211.15974, here by their cosines.
Shapes: B batch, C channels, S samples, F frequencies, T windows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sa3_training.spectra import mid_side, stft

RESOLUTIONS = (2048, 512, 128)
FLOOR = 1e-8


def phase_loss(estimate_BCS: Tensor, target_BCS: Tensor, resolutions: tuple[int, ...] = RESOLUTIONS) -> Tensor:
    """Return the mean of both errors over the resolutions, 0 for equal phases, 0.63 for unrelated noise: windows and
    bins overlap, so neighbours never turn quite freely."""
    total = torch.zeros((), device=target_BCS.device)
    for window in resolutions:
        estimate, target = (stft(mid_side(audio), window) for audio in (estimate_BCS, target_BCS))
        total = total + frequency_error(estimate, target) + delay_error(estimate, target)
    return total / (2 * len(resolutions))


def frequency_error(estimate_FT: Tensor, target_FT: Tensor) -> Tensor:
    """Compare instantaneous frequencies: a tone that is off by d Hz scores 1 - cos(2 pi d hop / rate)."""
    return _turning_error(estimate_FT, target_FT, dim=-1)


def delay_error(estimate_FT: Tensor, target_FT: Tensor) -> Tensor:
    """Compare group delays: a click that is late by n samples scores 1 - cos(2 pi n / window)."""
    return _turning_error(estimate_FT, target_FT, dim=-2)


def _turning_error(estimate: Tensor, target: Tensor, dim: int) -> Tensor:
    turn_a, turn_b = _turn(estimate, dim), _turn(target, dim)
    weight = torch.sqrt(turn_b.abs().clamp(min=FLOOR))
    cosine = (turn_a * turn_b.conj()).real / (_size(turn_a) * _size(turn_b))
    return ((1 - cosine) * weight).sum() / weight.sum().clamp(min=FLOOR)


def _turn(spectrum: Tensor, dim: int) -> Tensor:
    """Return every value times the conjugate of the one before it: its angle is the phase difference."""
    count = spectrum.shape[dim] - 1
    return spectrum.narrow(dim, 1, count) * spectrum.narrow(dim, 0, count).conj()


def _size(turn: Tensor) -> Tensor:
    return torch.sqrt(turn.real.square() + turn.imag.square() + FLOOR**2)
