"""Shaping: log gains on the short-time spectra of an audio carrier. Knows no transformer and no latents.

One window is two patches long and starts every patch, so a patch's numbers are the gains of the window centred on it,
one for each of its bands. Silence stays silence, and no pattern that the gains repeat can be heard without a carrier.
Shapes: B batch, C channels, S samples, P samples of a patch and as many bands, L patches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_LOG_GAIN = 3.0
LEAST_LOG_GAIN = -9.0

REACH_PATCHES = 2
"""Patches on either side, of carrier and gains, that a shaped patch depends on."""


def shape(carrier_BCS: Tensor, log_gains_BQL: Tensor, patch_samples: int) -> Tensor:
    """[B, C, L*P] and [B, C*P, L] -> [B, C, L*P]; gain channel c * P + band. Gains of 0 return the carrier."""
    hop, channels = patch_samples, carrier_BCS.shape[1]
    log_gains = log_gains_BQL.float().clamp(LEAST_LOG_GAIN, MOST_LOG_GAIN)
    log_gains = log_gains.reshape(-1, channels, hop, log_gains.shape[-1])
    gains = F.pad(log_gains.exp(), (1, 1, 0, 1), mode="replicate").transpose(2, 3)
    window = torch.sin(math.pi / (2 * hop) * (torch.arange(2 * hop, device=carrier_BCS.device) + 0.5))
    beside = hop + hop // 2
    frames = F.pad(carrier_BCS.float(), (beside, beside)).unfold(-1, 2 * hop, hop)
    shaped = torch.fft.irfft(torch.fft.rfft(frames * window) * gains, 2 * hop) * window
    overlapped = (shaped[:, :, 1:, :hop] + shaped[:, :, :-1, hop:]).flatten(2)
    return overlapped[..., hop // 2 : overlapped.shape[-1] - hop // 2]
