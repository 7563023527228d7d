"""Spectra that losses and measures share: channels, magnitudes, mel bands, K-weighting. Knows no model and no loss.

Shapes: B batch, C channels, S samples, F frequencies, T windows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAGNITUDE_FLOOR = 1e-9

SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
K_WEIGHT_RATE = 48_000
"""The two filters of ITU-R BS.1770's K-weighting, as numerator and denominator at 48 kHz."""


def mid_side(audio_BCS: Tensor) -> Tensor:
    """Return mid and side, [B, 2, S]."""
    left, right = audio_BCS.unbind(1)
    return torch.stack((left + right, left - right), dim=1) / 2


def four_views(audio_BCS: Tensor) -> Tensor:
    """Return left, right, mid and side, [B, 4, S]."""
    return torch.cat((audio_BCS, mid_side(audio_BCS)), dim=1)


def stft(audio_BCS: Tensor, window_samples: int) -> Tensor:
    """Return the complex spectrogram [B * C, F, T] of every channel, hop a quarter window."""
    window = torch.hann_window(window_samples, device=audio_BCS.device)
    return torch.stft(audio_BCS.flatten(0, 1), window_samples, window_samples // 4, window=window, return_complex=True)


def magnitudes(audio_BCS: Tensor, window_samples: int) -> Tensor:
    """Return the magnitude spectrogram [B * C, F, T] of every channel, never quite zero."""
    spectrum = stft(audio_BCS, window_samples)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + MAGNITUDE_FLOOR)


def mel_filters(num_bands: int, window_samples: int, sample_rate: int) -> Tensor:
    """Return triangular mel filters [bands, F] over 30 Hz to the Nyquist frequency."""
    low, high = _mel(30.0), _mel(sample_rate / 2)
    edges = [700 * (10 ** ((low + (high - low) * i / (num_bands + 1)) / 2595) - 1) for i in range(num_bands + 2)]
    bins = torch.linspace(0, sample_rate / 2, window_samples // 2 + 1)
    rows = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        rows.append(torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0))
    return torch.stack(rows)


def k_weights(window_samples: int, sample_rate: int) -> Tensor:
    """Return the gain [F] that K-weighting gives every bin: how much the ear makes of it."""
    hertz = torch.linspace(0, sample_rate / 2, window_samples // 2 + 1, dtype=torch.float64)
    turn = torch.polar(torch.ones_like(hertz), -2 * math.pi * hertz.clamp(max=K_WEIGHT_RATE / 2) / K_WEIGHT_RATE)
    gain = torch.ones_like(hertz)
    for above, below in (SHELF, HIGH_PASS):
        numerator, denominator = (a + b * turn + c * turn**2 for a, b, c in (above, below))
        gain = gain * (numerator / denominator).abs()
    return gain.float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
