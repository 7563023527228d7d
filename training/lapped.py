"""The closed-form start of nano's codec: principal components of a sine-window MDCT. Knows no training loop.

Shapes: C audio channels, S samples, D latent channels, T frames, R samples in a frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LappedTransform:
    """Analysis and synthesis weights [D, C, 2R]: a Conv1d and a ConvTranspose1d of stride R, padding R / 2."""

    analysis: Tensor
    synthesis: Tensor


def mdct_basis(frame_samples: int) -> Tensor:
    """Return the windowed MDCT basis [R, 2R]; its overlap-added transpose reconstructs perfectly."""
    n = torch.arange(2 * frame_samples, dtype=torch.float64)
    k = torch.arange(frame_samples, dtype=torch.float64)[:, None]
    window = torch.sin(math.pi / (2 * frame_samples) * (n + 0.5))
    phase = math.pi / frame_samples * (n + 0.5 + frame_samples / 2) * (k + 0.5)
    return (math.sqrt(2 / frame_samples) * window * torch.cos(phase)).float()


def mdct(audio_CS: Tensor, basis: Tensor) -> Tensor:
    """Return coefficients [T, C * R] of audio whose length is a multiple of R."""
    frame = basis.shape[0]
    spectrum = torch.nn.functional.conv1d(audio_CS[:, None], basis[:, None], stride=frame, padding=frame // 2)
    return spectrum.permute(2, 0, 1).flatten(1)


def fit(clips: Iterable[Tensor], frame_samples: int, latent_dim: int, whitening: float) -> LappedTransform:
    """Fit the transform to clips [2, S].

    ``whitening`` 1 gives every latent channel the same spread, 0 keeps the components' own; between them
    strong components stay stronger, so a model trained on the latents learns them first. The mean square
    over all channels is 1.
    """
    basis = mdct_basis(frame_samples)
    frames = torch.cat([mdct(clip, basis) for clip in clips])
    torch.manual_seed(0)
    _, singular, components = torch.svd_lowrank(frames, q=latent_dim + 32, niter=4)
    sigma = singular[:latent_dim] / math.sqrt(frames.shape[0])
    scale = sigma**-whitening
    scale = scale / torch.sqrt(torch.mean((sigma * scale) ** 2))
    directions = components[:, :latent_dim].T.reshape(latent_dim, 2, frame_samples) @ basis
    return LappedTransform(directions * scale[:, None, None], directions / scale[:, None, None])
