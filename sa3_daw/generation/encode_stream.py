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
from sa3_daw.models.shaping import REACH_PATCHES
from sa3_daw.models.specs import SameStageSpec

CHUNK_FRAMES = 128
"""Frames encoded at once; bounds memory for any length."""


def context_frames(stage: SameStageSpec, frame_alignment: int) -> tuple[int, int]:
    """Return how many frames left and right of an aligned chunk one side of an autoencoder depends on.

    Sliding windows reach ``window`` frames per layer, the midpoint shift half an attention chunk, which is then needed
    whole. Beside that reach the mapping's kernel, the lapped path's neighbour frame, and shaping, which only a decoder
    with both paths has.
    """

    def reach(attended_patches: int) -> int:
        beside = max(attended_patches + stage.mapping_kernel // 2, stage.stride if stage.lapped else 0)
        return beside + (REACH_PATCHES if stage.lapped and stage.depth else 0)

    if not stage.chunk_patches:
        left, right = (-(-reach(stage.depth * frames * stage.stride) // stage.stride) for frames in stage.window_frames)
        return left, right
    shift = stage.chunk_patches // 2 if stage.midpoint_shift else 0
    frames = -(-reach(shift) // (frame_alignment * stage.stride)) * frame_alignment
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
