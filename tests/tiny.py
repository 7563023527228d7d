"""Tiny seeded models in every form, for tests of structure. Knows no weights on disk."""

from __future__ import annotations

import torch

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec, SameStageSpec


def stage(**changes: object) -> SameStageSpec:
    """Return a small SAME-S stage with the given fields changed."""
    fields: dict[str, object] = {
        "width": 32, "depth": 4, "head_dim": 16, "ff_mult": 2, "stride": 4, "chunk_patches": 8,
        "midpoint_shift": True, "window_frames": (0, 0), "num_sinusoidal": 0, "mapping_kernel": 3,
        "token_noise": 0.0, "lapped": False,
    }  # fmt: skip
    return SameStageSpec(**{**fields, **changes})  # type: ignore[arg-type]


SAME_FORMS: dict[str, SameSpec] = {
    "same-s": SameSpec(8, 2, 12, stage(mapping_kernel=1), stage()),
    "same-s-unshifted": SameSpec(8, 2, 12, stage(mapping_kernel=1), stage(midpoint_shift=False)),
    "same-s-four-frames": SameSpec(8, 2, 12, stage(chunk_patches=16), stage(chunk_patches=16)),
    "same-l": SameSpec(
        8, 2, 12,
        stage(chunk_patches=0, window_frames=(1, 1), mapping_kernel=1),
        stage(chunk_patches=0, window_frames=(1, 1), mapping_kernel=1, num_sinusoidal=3),
    ),
    "nano": SameSpec(8, 2, 12, stage(depth=0, lapped=True), stage(depth=0, lapped=True)),
    "nano-with-transformer": SameSpec(8, 2, 12, stage(depth=0, lapped=True), stage(lapped=True)),
    "nano-with-short-chunks": SameSpec(
        8, 2, 12,
        stage(depth=0, lapped=True, stride=2, chunk_patches=4),
        stage(lapped=True, stride=2, chunk_patches=4),
    ),
    "nano-with-windows": SameSpec(
        8, 2, 12,
        stage(depth=0, lapped=True, stride=1, chunk_patches=0),
        stage(depth=1, lapped=True, stride=1, chunk_patches=0, window_frames=(1, 0)),
    ),
}  # fmt: skip


def seeded_same(spec: SameSpec) -> Same:
    """Return an autoencoder whose every weight, the usually tiny query tokens included, is of order one."""
    torch.manual_seed(0)
    same = Same(spec).eval().requires_grad_(False)
    for name, parameter in same.named_parameters():
        if name.endswith("new_tokens"):
            parameter.normal_()
        elif name.endswith("alpha"):
            parameter.fill_(1.0)
    return same
