"""Corpus clips beside what the DiT leaves of their latents: what a decoder learns from. Knows no decoder and no loss.

Shapes: N clips, B batch, C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.sampling.schedule import LogSNRShift, t_grid
from sa3_training.corpus.score import ChooseParts, compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renders
from sa3_training.data.corpus_pool import CLIPS_PER_PIECE, LEAD_FRAMES, Clips
from sa3_training.data.crops import on_device
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.shared_work import pieces, shared

CLIPS_AT_ONCE = 12
SAMPLER_STEPS = 8
LOWEST_HERTZ = 15.0
"""Some of the sound font's notes stand on a constant; what lies below this is taken out of the audio."""


@dataclass(frozen=True)
class Pairs:
    """Equally long clips: audio int16 [N, C, S], their latents ``clean`` and what the DiT left of them, ``rough``;
    both float16 [N, D, T]."""

    audio: Tensor
    clean: Tensor
    rough: Tensor


def make_pairs(
    clips: Clips,
    seeds: range,
    choose: ChooseParts,
    renderer: Renders,
    student: Denoiser,
    levels: Sequence[float],
    num_processes: int = 1,
) -> Pairs:
    """Render the first clips again, by their ``seeds``, and let ``student`` finish them, unguided, from the levels."""
    device = next(student.parameters()).device
    frame_samples = round(clips.frame_seconds * SAMPLE_RATE)
    work = partial(_audio_piece, choose, renderer, clips.num_frames, frame_samples)
    audio = torch.from_numpy(np.concatenate(shared(work, pieces(seeds, CLIPS_PER_PIECE), num_processes)))
    rough = []
    for index, first in enumerate(range(0, len(seeds), CLIPS_AT_ONCE)):
        rows = torch.arange(first, min(first + CLIPS_AT_ONCE, len(seeds)))
        batch = on_device(whole_clips(clips, rows), device)
        generator = torch.Generator().manual_seed(index)
        rough.append(finish(student, batch, levels[index % len(levels)], generator).half().cpu())
    # A copy: a view would be saved with the whole pool.
    return Pairs(audio, clips.latents[: len(seeds)].clone(), torch.cat(rough))


@torch.no_grad()
def finish(student: Denoiser, batch: Batch, level: float, generator: torch.Generator) -> Tensor:
    """Noise a batch's latents to ``level`` and return what the sampler's remaining steps make of them."""
    data = batch.latents_BDT
    size, _, num_frames = data.shape
    keep = torch.zeros(size, num_frames, device=data.device)
    nothing_dropped = torch.zeros(size, dtype=torch.bool, device=data.device)
    grid = t_grid(SAMPLER_STEPS, LogSNRShift(), torch.tensor(float(num_frames)))
    x = torch.lerp(data, torch.randn(data.shape, generator=generator).to(data.device), level)
    for t, below in pairwise((level, *grid[grid < level].tolist())):
        x = x + (below - t) * student(x, torch.full((size,), t, device=data.device), batch, keep, nothing_dropped)
    return x


def whole_clips(clips: Clips, rows: Tensor) -> Batch:
    """Return some clips uncut as a batch, each with its first caption."""
    texts, size, num_frames = clips.caption_of[rows, 0], len(rows), clips.num_frames
    return Batch(
        clips.latents[rows].float(), clips.grids[rows].float(), clips.states[texts].float(), clips.masks[texts],
        torch.full((size,), num_frames * clips.frame_seconds), torch.full((size,), num_frames),
        torch.full((size,), num_frames),
    )  # fmt: skip


def without_offset(audio_CS: Tensor, sample_rate: int) -> Tensor:
    """Return audio without what lies below LOWEST_HERTZ."""
    spectrum = torch.fft.rfft(audio_CS)
    spectrum[..., torch.fft.rfftfreq(audio_CS.shape[-1], 1 / sample_rate) < LOWEST_HERTZ] = 0
    return torch.fft.irfft(spectrum, audio_CS.shape[-1])


def _audio_piece(
    choose: ChooseParts, renderer: Renders, num_frames: int, frame_samples: int, seeds: range
) -> NDArray[np.int16]:
    return torch.stack([_audio(seed, choose, renderer, num_frames, frame_samples) for seed in seeds]).numpy()


def _audio(seed: int, choose: ChooseParts, renderer: Renders, num_frames: int, frame_samples: int) -> Tensor:
    seconds = (num_frames - LEAD_FRAMES) * frame_samples / SAMPLE_RATE
    audio = torch.from_numpy(renderer.render(compose(seed, seconds, choose), seconds))
    missing = num_frames * frame_samples - LEAD_FRAMES * frame_samples - audio.shape[-1]
    whole = torch.nn.functional.pad(audio, (LEAD_FRAMES * frame_samples, missing))
    return (32767 * without_offset(whole, SAMPLE_RATE).clamp(-1, 1)).to(torch.int16)
