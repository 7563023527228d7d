"""How far a reconstruction is from its original, as plain numbers. Knows no model.

Shapes: B batch, C channels, S samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sa3_training.losses.regressors import MOST_DB, chroma, level_difference
from sa3_training.losses.spectral import LOG_FLOOR, relative_l2
from sa3_training.spectra import magnitudes, mel_filters, mid_side

MR_STFT_WINDOWS = (2048, 1024, 512, 256, 128)
FRAME_SAMPLES = 4096


def mr_stft(estimate_BCS: Tensor, target_BCS: Tensor) -> float:
    """Multi-resolution STFT error of mid and side: spectral convergence plus mean log-magnitude difference."""
    estimate, target = mid_side(estimate_BCS), mid_side(target_BCS)
    total = 0.0
    for window in MR_STFT_WINDOWS:
        a, b = magnitudes(estimate, window), magnitudes(target, window)
        floor = LOG_FLOOR * window**0.5
        log_error = (torch.log(a + floor) - torch.log(b + floor)).abs().mean()
        total += float((a - b).norm() / b.norm().clamp(min=1e-6) + log_error)
    return total / len(MR_STFT_WINDOWS)


def snr_db(estimate: Tensor, target: Tensor) -> float:
    """Signal-to-error ratio in dB."""
    return -10 * math.log10(max(float(relative_l2(estimate, target)), 1e-12))


def si_sdr_db(estimate: Tensor, target: Tensor) -> float:
    """Signal-to-distortion ratio in dB after the best scaling of the target: a wrong level is no error."""
    scale = (estimate * target).sum() / target.square().sum().clamp(min=1e-9)
    error = estimate - scale * target
    ratio = (scale * target).square().sum() / error.square().sum().clamp(min=1e-12)
    return 10 * math.log10(max(float(ratio), 1e-12))


def mel_error(estimate_BCS: Tensor, target_BCS: Tensor, sample_rate: int = 44100) -> float:
    """Mean absolute difference of log10 mel magnitudes of the mid channel, 80 bands, floor -60 dB."""
    filters = mel_filters(80, 2048, sample_rate)
    a, b = (
        torch.log10((filters @ magnitudes(mid_side(audio)[:, :1], 2048)).clamp(min=1e-2))
        for audio in (estimate_BCS, target_BCS)
    )
    return float((a - b).abs().mean())


def level_error_db(estimate_BCS: Tensor, target_BCS: Tensor) -> float:
    """Mean absolute error of the level difference between left and right, in dB."""
    a, b = (level_difference(audio, FRAME_SAMPLES) for audio in (estimate_BCS, target_BCS))
    return float((a - b).abs().mean()) * MOST_DB


def chroma_error(estimate_BCS: Tensor, target_BCS: Tensor, sample_rate: int = 44100) -> float:
    """Mean share of each frame's energy that lies in another pitch class than it should, 0 to 1."""
    a, b = (chroma(audio, FRAME_SAMPLES, sample_rate) for audio in (estimate_BCS, target_BCS))
    return float((a - b).abs().sum(1).mean()) / 2


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
