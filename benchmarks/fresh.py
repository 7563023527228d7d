"""Loading time and resident memory, each measured in a process of its own. Knows no sampler and no table."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.sizes import Sizes
from sa3_daw.checkpoint import build, load_strict, read_tensors
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision
from sa3_daw.models.same import Same

PREFIXES = ("dit.", "same.")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Loaded:
    """CPU-seconds to load, and MB resident after one step and one decode; ``own_mb`` excludes mapped files."""

    seconds: float
    resident_mb: float
    own_mb: float


def measure_loading(sizes: Sizes, ways: list[str], num_frames: int) -> dict[str, Loaded]:
    """Load one checkpoint in each way, the file in the page cache."""
    with TemporaryDirectory() as folder:
        _in_fresh_process(_write, sizes, Path(folder))
        return {way: _in_fresh_process(_load, sizes, Path(folder), way, num_frames) for way in ways}


def _in_fresh_process(call: Callable[..., Result], *arguments: object) -> Result:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def _write(sizes: Sizes, folder: Path) -> None:
    from tests.test_against_diffusers import randomised  # the measured processes are spared what it imports

    modules = zip(PREFIXES, (randomised(DiT(sizes.dit)), randomised(Same(sizes.same))), strict=True)
    tensors = {prefix + key: tensor for prefix, module in modules for key, tensor in module.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")


@torch.inference_mode()
def _load(sizes: Sizes, folder: Path, way: str, num_frames: int) -> Loaded:
    torch.set_num_threads(1)
    manner, precision = way.split()
    build(lambda: (nn.Linear(1, 1), nn.Parameter(torch.randn(1)))[0])  # torch imports what it needs for meta tensors
    started = process_time()
    if manner == "copied":
        dit, same = DiT(sizes.dit).eval(), Same(sizes.same).eval()
        tensors = load_file(folder / "model.safetensors")
        for prefix, module in zip(PREFIXES, (dit, same), strict=True):
            module.load_state_dict({key: tensors[prefix + key] for key in module.state_dict()})
        del tensors
    else:
        dit, same = build(lambda: DiT(sizes.dit)), build(lambda: Same(sizes.same))
        load_strict(dict(zip(PREFIXES, (dit, same), strict=True)), read_tensors(folder), "benchmark")
        apply_precision(dit, same, PrecisionChoice(precision, "cpu", False, "benchmark"))
    seconds = process_time() - started
    spec, x = sizes.dit, torch.ones(1, sizes.dit.latent_dim, num_frames)
    local = torch.zeros(1, spec.local_dim, num_frames)
    given = Conditioning(torch.ones(1, 257, spec.cond_dim), torch.ones(1, spec.global_dim), local)
    same.decode(dit(x, torch.tensor([0.5]), dit.prepare(given)))
    resident = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if "Rss" in line)
    kilobytes = {key: int(value.split()[0]) for key, value in resident.items()}
    own = kilobytes["RssAnon"] + kilobytes["RssShmem"]
    return Loaded(seconds, kilobytes.get("VmRSS", own + kilobytes["RssFile"]) / 1e3, own / 1e3)
