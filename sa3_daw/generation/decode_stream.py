"""Latents -> audio in time order, chunk by chunk, equal to the one-shot decode. Knows no job and no host rate.

A SAME decoder sees a bounded stretch of latents, so a chunk decoded with enough context on both sides, on
aligned frames, is the one-shot decode to float rounding. Shapes: B batch, C channels, S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec

FIRST_CHUNK_SECONDS = 0.37
"""Short, so that the first audio leaves early; measured decode cost makes shorter ones no earlier."""

LARGEST_CHUNK_SECONDS = 12.0
"""Bounds memory for any length; larger chunks were no faster."""

CHUNK_GROWTH = 2.0


def decoder_context_frames(spec: SameSpec) -> tuple[int, int]:
    """Return how many frames left and right of an aligned chunk its decode depends on.

    Sliding windows reach ``window`` frames per layer. Chunked attention reaches one attention chunk to
    each side through the midpoint shift; that one chunk also covers the mapping's one-patch leak and the
    lapped path's neighbour frame, which exist without a shift as well.
    """
    stage = spec.decoder
    if not stage.chunk_patches:
        left, right = stage.window_frames
        spill = 1 if stage.mapping_kernel > 1 or stage.lapped else 0
        return stage.depth * left + spill, stage.depth * right + spill
    reaches_out = stage.midpoint_shift or stage.mapping_kernel > 1 or stage.lapped
    frames = spec.frame_alignment if reaches_out else 0
    return frames, frames


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


def decode_stream(same: Same, latents_BDT: Tensor, end_frame: int, sample_rate: int) -> Iterator[Tensor]:
    """Yield the audio of frames [0, end), consecutive pieces [B, 2, n] in time order."""
    spec = same.spec
    frames_per_second = sample_rate / spec.samples_per_frame
    for start, stop in chunk_plan(0, end_frame, spec.frame_alignment, frames_per_second):
        yield decode_range(same, latents_BDT, start, stop)
