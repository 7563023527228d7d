"""Loading time and memory, each measured in a process of its own. Knows no sampler and no table."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import process_time
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.sizes import PREFIXES, Sizes, load_mapped
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.encode_stream import encode_stream
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.same import Same

LOADED_FRAMES = 64
SAMPLE_RATE = 44100

Result = TypeVar("Result")


def in_fresh_process(call: Callable[..., Result], *arguments: object) -> Result:
    """Call in a new process and return what it returned."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


@torch.inference_mode()
def measure_load(sizes: Sizes, folder: Path, way: str) -> dict[str, float]:
    """Load in one way, the file in the page cache; MB are after one step and one decode, own ones without the file."""
    torch.set_num_threads(1)
    precision, _, manner = way.partition(", ")
    started = process_time()
    if manner == "built and copied":
        dit, same = DiT(sizes.dit).eval(), Same(sizes.same).eval()
        tensors = load_file(folder / "model.safetensors")
        for prefix, module in zip(PREFIXES, (dit, same), strict=True):
            module.load_state_dict({key: tensors[prefix + key] for key in module.state_dict()})
        del tensors
    else:
        dit, same = load_mapped(sizes, folder, precision, keeps_copies=manner == "from its copy")
    seconds = process_time() - started
    spec, x = sizes.dit, torch.ones(1, sizes.dit.latent_dim, LOADED_FRAMES)
    local = torch.zeros(1, spec.local_dim, LOADED_FRAMES)
    given = Conditioning(torch.ones(1, 257, spec.cond_dim), torch.ones(1, spec.global_dim), local)
    same.decode(dit(x, torch.tensor([0.5]), dit.prepare(given)))
    resident = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if "Rss" in line)
    kilobytes = {key: int(value.split()[0]) for key, value in resident.items()}
    own = kilobytes["RssAnon"] + kilobytes["RssShmem"]
    everything = kilobytes.get("VmRSS", own + kilobytes["RssFile"])
    return {"CPU-seconds": seconds, "resident MB": everything / 1e3, "own MB": own / 1e3}


@torch.inference_mode()
def measure_autoencoder(sizes: Sizes, folder: Path, way: str, seconds: float) -> dict[str, float]:
    """Encode or decode so much audio in pieces that nobody keeps, and return the process's largest size."""
    torch.set_num_threads(1)
    _, same = load_mapped(sizes, folder, "fp32")
    num_frames = round(seconds * SAMPLE_RATE / sizes.same.samples_per_frame)
    started = process_time()
    if way == "decode":
        latents = torch.randn(1, sizes.same.latent_dim, num_frames, generator=torch.Generator().manual_seed(1))
        num_made = sum(piece.shape[-1] for piece in decode_stream(same, latents, num_frames, SAMPLE_RATE))
        assert num_made == num_frames * sizes.same.samples_per_frame
    else:
        assert sum(piece.shape[-1] for piece in encode_stream(same, _noise(sizes, num_frames))) >= num_frames
    peak_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"CPU-seconds": process_time() - started, "peak MB": peak_kilobytes / 1e3}


def _noise(sizes: Sizes, num_frames: int) -> Iterator[NDArray[np.float32]]:
    draw = np.random.default_rng(1)
    for _ in range(num_frames):
        yield draw.standard_normal((2, sizes.same.samples_per_frame), dtype=np.float32)
