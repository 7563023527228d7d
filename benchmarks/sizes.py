"""What is measured: a model of small-music's sizes with random weights, loaded in each variant. Knows no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file

from sa3_daw.checkpoint import build, load_strict, read_tensors
from sa3_daw.converted import ConvertedCopies
from sa3_daw.models.dit import DiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision, converted_form, converted_weights
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

PREFIXES = ("dit.", "same.")


@dataclass(frozen=True)
class Sizes:
    """The shapes of one model."""

    dit: DiTSpec = SMALL_DIT
    same: SameSpec = SMALL_SAME


def write_model(sizes: Sizes, folder: Path) -> None:
    """Write a checkpoint of seeded random weights."""
    from tests.test_against_diffusers import randomised  # the measured processes are spared what it imports

    modules = zip(PREFIXES, (randomised(DiT(sizes.dit)), randomised(Same(sizes.same))), strict=True)
    tensors = {prefix + key: tensor for prefix, module in modules for key, tensor in module.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "model.safetensors.part"
    save_file(tensors, part)
    part.replace(folder / "model.safetensors")


def load_mapped(sizes: Sizes, folder: Path, variant: str, keeps_copies: bool = True) -> tuple[DiT, Same]:
    """Load as the engine does: mapped; "w8a8" or "bf16" from their copies on disk, or converted now; "... compiled"."""
    precision, _, compiled = variant.partition(" ")
    dit, same = _mapped(sizes, folder)
    copies, form = ConvertedCopies(folder / "converted"), converted_form(precision)
    sources, converted = [folder / "model.safetensors"], None
    if keeps_copies and precision != "fp32":
        converted = copies.read(sources, form)
        if converted is None:
            copies.write(sources, form, lambda: converted_weights(*_mapped(sizes, folder), precision))
            converted = copies.read(sources, form)
    apply_precision(dit, same, PrecisionChoice(precision, "cpu", bool(compiled), "benchmark"), converted)
    return dit, same


def _mapped(sizes: Sizes, folder: Path) -> tuple[DiT, Same]:
    dit, same = build(lambda: DiT(sizes.dit)), build(lambda: Same(sizes.same))
    load_strict(dict(zip(PREFIXES, (dit, same), strict=True)), read_tensors(folder), "the benchmark's model")
    return dit, same
