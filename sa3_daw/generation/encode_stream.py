"""Audio -> latents, chunk by chunk, equal to the one-shot encode. Knows no job and no rate.

A SAME encoder sees a bounded stretch of audio, so a chunk encoded with enough frames on both sides, on aligned
frames, is the one-shot encode to float rounding. Shapes: C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameStageSpec

CHUNK_FRAMES = 128
"""Frames encoded at once; bounds memory for any length."""


def context_frames(stage: SameStageSpec, frame_alignment: int) -> tuple[int, int]:
    """Return how many frames left and right of an aligned chunk one side of an autoencoder depends on.

    Sliding windows reach ``window`` frames per layer. Chunked attention reaches one attention chunk to
    each side through the midpoint shift; that one chunk also covers the mapping's one-patch leak and the
    lapped path's neighbour frame, which exist without a shift as well.
    """
    if not stage.chunk_patches:
        left, right = stage.window_frames
        spill = 1 if stage.mapping_kernel > 1 or stage.lapped else 0
        return stage.depth * left + spill, stage.depth * right + spill
    reaches_out = stage.midpoint_shift or stage.mapping_kernel > 1 or stage.lapped
    frames = frame_alignment if reaches_out else 0
    return frames, frames


def encode_stream(
    same: Same, pieces: Iterable[NDArray[np.float32]], chunk_frames: int = CHUNK_FRAMES
) -> Iterator[Tensor]:
    """Yield the latents [D, t] of consecutive audio pieces [2, n]; together they are ``same.encode`` of the whole.

    The last one covers the end, padded with silence to whole, aligned frames as the one-shot encode pads it.
    """
    spec = same.spec
    frame, align = spec.samples_per_frame, spec.frame_alignment
    chunk = -(-chunk_frames // align) * align
    left, right = (-(-reach // align) * align for reach in context_frames(spec.encoder, align))
    heard = torch.zeros(spec.audio_channels, 0)
    behind = 0  # frames at the start of ``heard`` that are encoded already
    for piece in pieces:
        heard = torch.cat((heard, torch.from_numpy(np.ascontiguousarray(piece))), dim=-1)
        while heard.shape[-1] >= (behind + chunk + right) * frame:
            yield _encode(same, heard[:, : (behind + chunk + right) * frame])[:, behind : behind + chunk]
            dropped = max(0, behind + chunk - left)
            heard, behind = heard[:, dropped * frame :], behind + chunk - dropped
    if heard.shape[-1] > behind * frame:
        yield _encode(same, heard)[:, behind:]


@torch.inference_mode()
def _encode(same: Same, audio_CS: Tensor) -> Tensor:
    return same.encode(audio_CS[None])[0]
