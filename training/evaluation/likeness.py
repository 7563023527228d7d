"""How alike two sets of clips are: style, Fréchet distance, and whether one repeats the other. Knows no model.

Features are log-mel statistics, so two clips of one style lie near each other whatever their notes.
Shapes: N clips, C channels, S samples, F features, T windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sa3_training.spectra import magnitudes, mel_filters

BANDS = 40
WINDOW_SAMPLES = 2048
FLOOR = 1e-3
"""Added to mel magnitudes before the logarithm; the loudest of a corpus clip are near 3000."""

REPEAT_SECONDS = 2.0
POOLED_WINDOWS = 8


def log_mel(audio_CS: Tensor, sample_rate: int, floor: float = FLOOR) -> Tensor:
    """Return the log-mel spectrogram [bands, T] of the mid channel at equal loudness."""
    mid = audio_CS.mean(0)
    mid = mid / mid.square().mean().sqrt().clamp(min=1e-6)
    mel = mel_filters(BANDS, WINDOW_SAMPLES, sample_rate) @ magnitudes(mid[None, None], WINDOW_SAMPLES)[0]
    return torch.log10(mel + floor)


def features(audio_CS: Tensor, sample_rate: int, floor: float = FLOOR) -> Tensor:
    """Return [F]: mean, spread and mean rise of every log-mel band."""
    bands = log_mel(audio_CS, sample_rate, floor)
    return torch.cat((bands.mean(1), bands.std(1), bands.diff(dim=1).clamp(min=0).mean(1)))


def rows(clips: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Return the features of some clips, [N, F]."""
    return torch.stack([features(clip, sample_rate) for clip in clips])


def distance(clips: Sequence[Tensor], style: Sequence[Tensor], sample_rate: int) -> float:
    """Return the mean distance of the clips' features to the style's centre, per feature."""
    return distance_of(rows(clips, sample_rate), rows(style, sample_rate))


def distance_of(rows_NF: Tensor, style_NF: Tensor) -> float:
    """Return the mean distance of some features to the centre of others, per feature."""
    return float((rows_NF - style_NF.mean(0)).abs().mean())


def share_nearest(
    clips: Sequence[Tensor], style: Sequence[Tensor], others: Sequence[Tensor], sample_rate: int
) -> float:
    """Return the share of clips that lie nearer to ``style``'s centre than to that of ``others``."""
    centres = torch.stack([rows(style, sample_rate).mean(0), rows(others, sample_rate).mean(0)])
    nearest = [int((features(clip, sample_rate) - centres).abs().mean(1).argmin()) for clip in clips]
    return nearest.count(0) / len(nearest)


def frechet_of(rows_NF: Tensor, reference_NF: Tensor) -> float:
    """Return the Fréchet distance of two sets of at least two vectors, as normal distributions."""
    (mean_a, cov_a), (mean_b, cov_b) = (
        (rows.double().mean(0), torch.cov(rows.double().T)) for rows in (rows_NF, reference_NF)
    )
    # trace((A B)^1/2) is the sum of the singular values of A^1/2 B^1/2.
    cross = torch.linalg.matrix_norm(_root(cov_a) @ _root(cov_b), ord="nuc")
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def stretches(audio_CS: Tensor, sample_rate: int) -> Tensor:
    """Return every stretch of two seconds as a unit vector, [n, bands * T]; time in steps of eight windows."""
    bands = log_mel(audio_CS, sample_rate)
    pooled = torch.nn.functional.avg_pool1d(bands[None], POOLED_WINDOWS)[0]
    length = round(REPEAT_SECONDS * sample_rate / (WINDOW_SAMPLES / 4) / POOLED_WINDOWS)
    if pooled.shape[1] < length:
        return torch.zeros(0, BANDS * length)
    found = pooled.unfold(1, length, 1).permute(1, 0, 2).flatten(1)
    return torch.nn.functional.normalize(found - found.mean(1, keepdim=True), dim=1)


def likeness(stretches: Tensor, others: Tensor) -> float:
    """Return the highest correlation of any stretch of one clip with any of another: 1 is a repetition."""
    return float((stretches @ others.T).max()) if len(stretches) and len(others) else 0.0


def closest(stretches: Tensor, others: Sequence[Tensor]) -> tuple[float, int]:
    """Return the highest likeness of one clip's stretches to those of any other, and which it is."""
    found = [likeness(stretches, other) for other in others]
    best = max(range(len(found)), key=found.__getitem__)
    return found[best], best


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
