"""What is measured: models of small-music's sizes with random weights, ours and diffusers'. Knows no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sa3_daw.checkpoint import build, load_strict
from sa3_daw.models.dit import DiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision
from sa3_daw.models.same import Same
from sa3_daw.models.specs import DiTSpec, SameSpec, SameStageSpec

SMALL_DIT = DiTSpec(
    latent_dim=256, width=1024, depth=20, num_heads=16, cond_dim=768, global_dim=768, local_dim=257,
    timestep_dim=256, ff_mult=4.0, num_memory_tokens=64, differential=False,
)  # fmt: skip
SMALL_STAGE = SameStageSpec(
    width=768, depth=6, head_dim=64, ff_mult=3, stride=16, chunk_patches=32, midpoint_shift=True,
    window_frames=(0, 0), num_sinusoidal=0, mapping_kernel=1, token_noise=0.0, lapped=False,
)  # fmt: skip
SMALL_SAME = SameSpec(256, 2, 256, SMALL_STAGE, replace(SMALL_STAGE, mapping_kernel=3))


@dataclass(frozen=True)
class Sizes:
    """The shapes of one model."""

    dit: DiTSpec = SMALL_DIT
    same: SameSpec = SMALL_SAME


@dataclass(frozen=True)
class Models:
    """Ours in each precision, and diffusers' DiT with the same weights."""

    ours: dict[str, tuple[DiT, Same]]
    theirs: Any


def random_models(sizes: Sizes, precisions: list[str]) -> Models:
    """Return models of equal weights; what a precision leaves as it is shares its memory with fp32."""
    from tests.test_against_diffusers import dit_pair, randomised

    dit, theirs = dit_pair(sizes.dit)
    same = randomised(Same(sizes.same))
    ours = {}
    for precision in precisions:
        other_dit, other_same = build(lambda: DiT(sizes.dit)), build(lambda: Same(sizes.same))
        load_strict({"": other_dit}, dit.state_dict(), "the random DiT")
        load_strict({"": other_same}, same.state_dict(), "the random SAME")
        apply_precision(other_dit, other_same, PrecisionChoice(precision, "cpu", False, "benchmark"))
        ours[precision] = other_dit, other_same
    return Models(ours, theirs)
