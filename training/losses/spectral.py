"""Multi-resolution spectral loss, weighted by hearing. Knows no model. Shapes: B batch, C channels, S samples.

Seven resolutions of left, right, mid and side: spectral convergence, in which the loud counts, plus the difference of
log magnitudes, in which the quiet counts too. Source: arXiv 2605.17991 (SAME); both terms: Yamamoto et al., arXiv
1910.11480; weights: ITU-R BS.1770.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sa3_training.spectra import four_views, k_weights, magnitudes

RESOLUTIONS = (2048, 1024, 512, 256, 128, 64, 32)

LOG_FLOOR = 3e-3
"""Added to magnitudes before the logarithm, times the root of the window, in which noise grows: -50 dB or so.
A lower one makes the near-silent side channel rule the loss."""


def spectral_loss(
    estimate_BCS: Tensor, target_BCS: Tensor, sample_rate: int = 44100, resolutions: tuple[int, ...] = RESOLUTIONS
) -> Tensor:
    """Return the mean over resolutions of spectral convergence and log-magnitude error; 0 for equal spectra."""
    estimate, target = four_views(estimate_BCS), four_views(target_BCS)
    total = torch.zeros((), device=target.device)
    for window in resolutions:
        weights = k_weights(window, sample_rate).to(target.device)[:, None]
        a, b = magnitudes(estimate, window) * weights, magnitudes(target, window) * weights
        convergence = (a - b).norm() / b.norm().clamp(min=1e-6)
        floor = LOG_FLOOR * window**0.5
        total = total + convergence + (torch.log(a + floor) - torch.log(b + floor)).abs().mean()
    return total / len(resolutions)


def relative_l2(estimate: Tensor, target: Tensor) -> Tensor:
    """Squared error over signal energy, over everything given."""
    return (estimate - target).square().sum() / target.square().sum().clamp(min=1e-6)
