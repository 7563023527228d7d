"""Losses and error measures on audio, each a plain function. Knows no model. Shapes: B batch, C channels, S samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RESOLUTIONS = (2048, 1024, 512, 256, 128)

LOG_FLOOR = 3e-3
"""Added to magnitudes before the logarithm, times the root of the window, in which noise grows: -50 dB or so.
A lower one makes the near-silent side channel rule the loss."""


def mid_side(audio_BCS: Tensor) -> Tensor:
    """Return mid and side, [B, 2, S]."""
    left, right = audio_BCS.unbind(1)
    return torch.stack((left + right, left - right), dim=1) / 2


def magnitudes(audio_BCS: Tensor, window_samples: int) -> Tensor:
    """Return the magnitude spectrogram of every channel, hop a quarter window."""
    window = torch.hann_window(window_samples, device=audio_BCS.device)
    spectrum = torch.stft(
        audio_BCS.flatten(0, 1), window_samples, window_samples // 4, window=window, return_complex=True
    )
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)


def mr_stft(estimate_BCS: Tensor, target_BCS: Tensor) -> Tensor:
    """Multi-resolution STFT error of mid and side: spectral convergence plus mean log-magnitude difference."""
    estimate, target = mid_side(estimate_BCS), mid_side(target_BCS)
    total = torch.zeros((), device=target.device)
    for window in RESOLUTIONS:
        a, b = magnitudes(estimate, window), magnitudes(target, window)
        convergence = (a - b).norm() / b.norm().clamp(min=1e-6)
        floor = LOG_FLOOR * window**0.5
        log_error = (torch.log(a + floor) - torch.log(b + floor)).abs().mean()
        total = total + convergence + log_error
    return total / len(RESOLUTIONS)


def relative_l2(estimate: Tensor, target: Tensor) -> Tensor:
    """Squared error over signal energy, over everything given."""
    return (estimate - target).square().sum() / target.square().sum().clamp(min=1e-6)


def snr_db(estimate: Tensor, target: Tensor) -> float:
    """Signal-to-error ratio in dB."""
    return -10 * math.log10(max(float(relative_l2(estimate, target)), 1e-12))


def mel_filters(num_bands: int, window_samples: int, sample_rate: int) -> Tensor:
    """Return triangular mel filters [bands, bins] over 30 Hz to the Nyquist frequency."""
    low, high = _mel(30.0), _mel(sample_rate / 2)
    edges = [700 * (10 ** ((low + (high - low) * i / (num_bands + 1)) / 2595) - 1) for i in range(num_bands + 2)]
    bins = torch.linspace(0, sample_rate / 2, window_samples // 2 + 1)
    rows = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        rows.append(torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0))
    return torch.stack(rows)


def mel_error(estimate_BCS: Tensor, target_BCS: Tensor, sample_rate: int = 44100) -> float:
    """Mean absolute difference of log10 mel magnitudes of the mid channel, 80 bands, floor -60 dB."""
    filters = mel_filters(80, 2048, sample_rate)
    a, b = (
        torch.log10((filters @ magnitudes(mid_side(audio)[:, :1], 2048)).clamp(min=1e-2))
        for audio in (estimate_BCS, target_BCS)
    )
    return float((a - b).abs().mean())


def comb_db(audio_CS: Tensor, patch_samples: int, sample_rate: int = 44100) -> float:
    """Level of the harmonics of the patch rate over their neighbours, in dB; 0 means no patch comb."""
    window = 16384
    spectrum = magnitudes(audio_CS.mean(0)[None, None], window)[0].square().mean(-1)
    step = window / patch_samples
    harmonics = [round(step * index) for index in range(6, int(window / 2 / step) - 1)]
    on = torch.stack([spectrum[index] for index in harmonics])
    near = torch.stack(
        [torch.cat((spectrum[index - 12 : index - 4], spectrum[index + 5 : index + 13])).mean() for index in harmonics]
    )
    return float(10 * torch.log10(on / near.clamp(min=1e-12)).mean())


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
