"""How much memory a training run will take, found by a dry run without any numbers. Knows no data and no loop.

The denoiser is built on the meta device and run once, forward only, while every tensor kept for the backward pass is
counted: exact for any batch and length, in a second, before anything is loaded.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from sa3_daw.adapter_files import XS_SUFFIX
from sa3_daw.checkpoint import build
from sa3_daw.errors import OutOfMemory
from sa3_daw.models.conditioner import Conditioner
from sa3_daw.models.dit import DiT
from sa3_daw.models.specs import ModelSpec
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.lora.adapt import AdapterRecipe, attach, recompute_blocks

RUNTIME_BYTES = 600 << 20
"""Python, torch and their libraries."""

TRANSIENT_SHARE = 1.25
"""Tensors that live for a moment only (gradients on their way back, activations not kept), over those kept."""

BLOCK_SHARE = 3
"""Blocks' worth of tensors alive while one block is recomputed and differentiated; measured with nano, batch 32, 64."""

LEARNED_BYTES = 16
"""Of each learned number: itself, its gradient and two moments of the optimiser, in float32."""

SHORTEST_FRAMES = 32


@dataclass(frozen=True)
class Load:
    """What decides a run's memory."""

    batch_size: int
    num_frames: int
    bf16: bool
    adapter: AdapterRecipe
    recompute: bool = False
    """Every block's inner tensors are computed twice instead of kept."""


@cache
def needed_bytes(spec: ModelSpec, load: Load) -> int:
    """Return the memory of a run's largest moment, a little more rather than less."""
    denoiser = _on_meta(spec, load)
    weights = sum(parameter.nbytes for parameter in denoiser.parameters() if not parameter.requires_grad)
    learned = sum(parameter.numel() for parameter in denoiser.parameters() if parameter.requires_grad)
    kept = TRANSIENT_SHARE * kept_bytes(spec, load) + 2 * _largest_weight(denoiser)
    return int(RUNTIME_BYTES + weights + LEARNED_BYTES * learned + kept)


def _largest_weight(denoiser: Denoiser) -> int:
    """Return the float32 bytes of the largest matrix, several of which live for a moment in every adapter."""
    return 4 * max(parameter.numel() for parameter in denoiser.parameters())


def kept_bytes(spec: ModelSpec, load: Load) -> int:
    """Return how much one forward pass keeps for the backward pass."""
    denoiser = _on_meta(spec, load)
    if load.recompute:
        # What is recomputed escapes the count: the tokens between blocks, and at any moment the inside of one block.
        recompute_blocks(denoiser)
        tokens = 4 * load.batch_size * (load.num_frames + spec.dit.num_memory_tokens) * spec.dit.width
        inside = BLOCK_SHARE * kept_bytes(spec, replace(load, recompute=False)) // spec.dit.depth
        return _counted(denoiser, spec, load) + spec.dit.depth * tokens + inside
    return _counted(denoiser, spec, load)


def _counted(denoiser: Denoiser, spec: ModelSpec, load: Load) -> int:
    base = {parameter.untyped_storage()._cdata for parameter in denoiser.parameters() if not parameter.requires_grad}
    seen: dict[int, torch.UntypedStorage] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in base:
            seen[storage._cdata] = storage
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        forward(denoiser, spec, load)
    return sum(storage.nbytes() for storage in seen.values())


def forward(denoiser: Denoiser, spec: ModelSpec, load: Load) -> Tensor:
    """Run the denoiser once on zeros of the load's size, on the device in force."""
    size, frames = load.batch_size, load.num_frames
    batch = Batch(
        latents_BDT=torch.zeros(size, spec.dit.latent_dim, frames),
        grid_BGT=torch.zeros(size, spec.conditioning.beat_grid_dim, frames),
        states_BLD=torch.zeros(size, spec.conditioning.max_tokens, spec.conditioning.cond_dim),
        mask_BL=torch.ones(size, spec.conditioning.max_tokens, dtype=torch.bool),
        seconds_B=torch.ones(size),
        valid_B=torch.full((size,), frames),
        source_frames_B=torch.full((size,), frames),
    )
    keep, dropped = torch.zeros(size, frames), torch.zeros(size, dtype=torch.bool)
    velocity: Tensor = denoiser(batch.latents_BDT, torch.zeros(size), batch, keep, dropped)
    return velocity


def _on_meta(spec: ModelSpec, load: Load) -> Denoiser:
    """Return the adapted denoiser without numbers."""
    denoiser = build(lambda: Denoiser(DiT(spec.dit), Conditioner(spec.conditioning)))
    if load.bf16:
        denoiser.dit.to(torch.bfloat16)
    # xs kinds need singular bases, which cannot be computed without numbers; plain ones keep no less.
    attach(denoiser, replace(load.adapter, kind=load.adapter.kind.removesuffix(XS_SUFFIX)), seed=0)
    return denoiser


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that is free on the device, or None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if sys.platform.startswith("linux"):
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)
    if sys.platform == "win32":
        return _free_on_windows()
    if "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: the system gives back its caches when asked
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.7)
    return None


def fit(spec: ModelSpec, load: Load, free: int | None) -> tuple[Load, int]:
    """Return the load, with recomputation where only that fits, and the bytes it needs.

    Raises OutOfMemory, with what would fit, when ``free`` is less than either needs.
    """
    needed = needed_bytes(spec, load)
    if free is None or needed <= free:
        return load, needed
    tight = replace(load, recompute=True)
    if (needed := needed_bytes(spec, tight)) <= free:
        return tight, needed
    fitting = smaller(spec, tight, free)
    seconds = spec.samples_per_frame / spec.sample_rate
    advice = (
        f"it fits with --batch-size {fitting.batch_size} --crop-seconds {int(fitting.num_frames * seconds)}"
        if fitting
        else "no batch and no length would fit: close other programs or train a smaller model"
    )
    raise OutOfMemory(
        f"training {spec.name} needs about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; {advice}",
        field="batch_size",
        value=str(load.batch_size),
    )


def smaller(spec: ModelSpec, load: Load, free: int) -> Load | None:
    """Return the largest load that fits: the batch is halved first, then the crop."""
    while load.batch_size > 1 or load.num_frames > SHORTEST_FRAMES:
        if load.batch_size > 1:
            load = replace(load, batch_size=load.batch_size // 2)
        else:
            load = replace(load, num_frames=max(SHORTEST_FRAMES, load.num_frames // 2))
        if needed_bytes(spec, load) <= free:
            return load
    return None


def _free_on_windows() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong), ("rest", ctypes.c_ulonglong * 5),
        )  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    answered = getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # noqa: B009
    return int(status.available) if answered else None
