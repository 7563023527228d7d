"""Latents -> audio in time order, chunk by chunk, equal to the one-shot decode. Knows no job and no host rate.

A SAME decoder sees a bounded stretch of latents, so a chunk decoded with enough context on both sides, on
aligned frames, is the one-shot decode to float rounding. Shapes: B batch, C channels, S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sa3_daw.generation.encode_stream import context_frames
from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec

FIRST_CHUNK_SECONDS = 0.37
"""Short, so that the first audio leaves early; measured decode cost makes shorter ones no earlier."""

LARGEST_CHUNK_SECONDS = 12.0
"""Bounds memory for any length; larger chunks were no faster."""

CHUNK_GROWTH = 2.0


def decoder_context_frames(spec: SameSpec) -> tuple[int, int]:
    """Return how many frames left and right of an aligned chunk its decode depends on."""
    return context_frames(spec.decoder, spec.frame_alignment)


def chunk_plan(start_frame: int, end_frame: int, align: int, frames_per_second: float) -> Iterator[tuple[int, int]]:
    """Yield half-open frame ranges that tile [start, end): short first, then growing, aligned at every joint."""
    size = FIRST_CHUNK_SECONDS * frames_per_second
    while start_frame < end_frame:
        stop = start_frame + max(1, round(size))
        stop = min(-(-stop // align) * align, end_frame)
        yield start_frame, stop
        start_frame = stop
        size = min(size * CHUNK_GROWTH, LARGEST_CHUNK_SECONDS * frames_per_second)


@torch.inference_mode()
def decode_range(same: Same, latents_BDT: Tensor, start_frame: int, end_frame: int) -> Tensor:
    """Decode frames [start, end), start aligned: equal to that slice of ``same.decode(latents_BDT)``."""
    spec = same.spec
    align, frame = spec.frame_alignment, spec.samples_per_frame
    if start_frame % align:
        raise ValueError(f"start_frame is {start_frame}; allowed: multiples of {align}")
    left, right = decoder_context_frames(spec)
    first = max(0, start_frame - left)
    aligned_end = -(-end_frame // align) * align
    last = min(latents_BDT.shape[-1], aligned_end + right)
    audio = same.decode(latents_BDT[..., first:last])
    return audio[..., (start_frame - first) * frame : (end_frame - first) * frame]


def decode_stream(
    same: Same, latents_BDT: Tensor, end_frame: int, sample_rate: int, start_frame: int = 0
) -> Iterator[Tensor]:
    """Yield the audio of frames [start, end), start aligned: consecutive pieces [B, 2, n] in time order."""
    spec = same.spec
    frames_per_second = sample_rate / spec.samples_per_frame
    for start, stop in chunk_plan(start_frame, end_frame, spec.frame_alignment, frames_per_second):
        yield decode_range(same, latents_BDT, start, stop)
