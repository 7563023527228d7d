"""Latents -> audio in time order, chunk by chunk, equal to the one-shot decode. Knows no job and no host rate.

A SAME decoder sees a bounded stretch of latents, so a stream that starts with enough context, on aligned frames, and
knows enough frames behind each chunk is the one-shot decode to float rounding. Shapes: B batch, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sa3_daw.generation.encode_stream import context_frames
from sa3_daw.models.decoding import DecodeStream
from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec

FIRST_CHUNK_SECONDS = 0.37
"""Short, so that the first audio leaves early; measured decode cost makes shorter ones no earlier."""

LARGEST_CHUNK_SECONDS = {"cpu": 4.0, "cuda": 12.0}
"""Bounds memory for any length. Larger ones make a processor's allocator take fresh pages for every tensor, a tenth of
the time; a GPU would wait for the host with shorter ones."""

CHUNK_GROWTH = 2.0


def decoder_context_frames(spec: SameSpec) -> tuple[int, int]:
    """Return how many frames left and right of an aligned chunk its decode depends on."""
    return context_frames(spec.decoder, spec.frame_alignment)


def chunk_plan(
    start_frame: int, end_frame: int, align: int, frames_per_second: float, largest_seconds: float
) -> Iterator[tuple[int, int]]:
    """Yield half-open frame ranges that tile [start, end): short first, then growing, aligned at every joint."""
    size = FIRST_CHUNK_SECONDS * frames_per_second
    while start_frame < end_frame:
        stop = start_frame + max(1, round(size))
        stop = min(-(-stop // align) * align, end_frame)
        yield start_frame, stop
        start_frame = stop
        size = min(size * CHUNK_GROWTH, largest_seconds * frames_per_second)


def decode_stream(
    same: Same, latents_BDT: Tensor, end_frame: int, sample_rate: int, start_frame: int = 0
) -> Iterator[Tensor]:
    """Yield the audio of frames [start, end), start aligned: consecutive pieces [B, 2, n] in time order.

    Together they are that slice of ``same.decode(latents_BDT)``.
    """
    spec = same.spec
    align, frame = spec.frame_alignment, spec.samples_per_frame
    if start_frame % align:
        raise ValueError(f"start_frame is {start_frame}; allowed: multiples of {align}")
    left, right = decoder_context_frames(spec)
    pushed = max(0, start_frame - left)
    last = min(latents_BDT.shape[-1], -(-end_frame // align) * align + right)
    stream, settled = DecodeStream(same), torch.zeros(latents_BDT.shape[0], spec.audio_channels, 0)
    at = pushed  # the frame that ``settled`` starts with
    largest = LARGEST_CHUNK_SECONDS[same.bottleneck.bias.device.type]
    for start, stop in chunk_plan(start_frame, end_frame, align, sample_rate / frame, largest):
        wanted = min(last, -(-stop // align) * align + right)
        if wanted > pushed:
            with torch.inference_mode():
                made = stream.push(latents_BDT[..., pushed:wanted], is_last=wanted == last)
            settled, pushed = torch.cat((settled.to(made.device), made), dim=-1), wanted
        yield settled[..., (start - at) * frame : (stop - at) * frame]
        settled, at = settled[..., (stop - at) * frame :], stop
