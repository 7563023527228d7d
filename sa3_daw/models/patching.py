"""Audio <-> patches: a reshape without parameters. Knows nothing of latents.

Shapes: B batch, C audio channels, S samples, P patch samples, L patches. Source: SPEC 1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F


def patch(audio_BCS: Tensor, patch_samples: int) -> Tensor:
    """[B, C, S] -> [B, C*P, ceil(S / P)], zero-padded right; channel index is c * P + position."""
    missing = -audio_BCS.shape[-1] % patch_samples
    return rearrange(F.pad(audio_BCS, (0, missing)), "b c (l p) -> b (c p) l", p=patch_samples)


def unpatch(patches_BQL: Tensor, patch_samples: int) -> Tensor:
    """[B, C*P, L] -> [B, C, L*P], the inverse of ``patch`` on whole patches."""
    return rearrange(patches_BQL, "b (c p) l -> b c (l p)", p=patch_samples)


def stereo_batch(clips_CS: Sequence[Tensor], frame_samples: int) -> Tensor:
    """Return [B, 2, S] from clips of any channel count and length, zero-padded right to whole frames.

    Mono is doubled; of more than two channels the first two are kept. Source: SPEC 1.7.
    """
    longest = max(clip.shape[-1] for clip in clips_CS)
    total = -(-longest // frame_samples) * frame_samples
    stereo = [clip.expand(2, -1) if clip.shape[0] == 1 else clip[:2] for clip in clips_CS]
    return torch.stack([F.pad(clip, (0, total - clip.shape[-1])) for clip in stereo])
