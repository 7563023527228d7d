"""One table of ratios from one run: the plain path and the fast paths, with random weights of real sizes.

Run: python -m benchmarks.run cpu|gpu [--depth N] [--seconds S ...] [--rounds N] [--threads N] [--variants NAME ...]
Rounds are interleaved and the best counts; on a processor in CPU-seconds, on a GPU in wall seconds.
The table is printed and written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from time import perf_counter, process_time

import torch
from torch import Tensor

from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision
from sa3_daw.models.same import Same
from sa3_daw.models.specs import DiTSpec, SameSpec, SameStageSpec

RESULTS = Path(__file__).parent / "results"
SAMPLE_RATE, SAMPLES_PER_FRAME, HEADROOM_SECONDS = 44100, 4096, 6.0
TOKENS = 257

SMALL_DIT = DiTSpec(
    latent_dim=256, width=1024, depth=20, num_heads=16, cond_dim=768, global_dim=768, local_dim=257,
    timestep_dim=256, ff_mult=4.0, num_memory_tokens=64, differential=False,
)  # fmt: skip
SMALL_STAGE = SameStageSpec(
    width=768, depth=6, head_dim=64, ff_mult=3, stride=16, chunk_patches=32, midpoint_shift=True,
    window_frames=(0, 0), num_sinusoidal=0, mapping_kernel=1, token_noise=0.0, lapped=False,
)  # fmt: skip
SMALL_SAME = SameSpec(256, 2, 256, SMALL_STAGE, replace(SMALL_STAGE, mapping_kernel=3))

VARIANTS = {"cpu": ("fp32", "w8a8", "bf16"), "gpu": ("fp32", "bf16")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "gpu"))
    parser.add_argument("--depth", type=int, default=SMALL_DIT.depth, help="blocks of the DiT, to need less memory")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 10.0, 30.0, 120.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=None, choices=("fp32", "bf16", "w8a8"))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    spec = replace(SMALL_DIT, depth=asked.depth)
    models = {name: built(spec, name, asked.device) for name in asked.variants or VARIANTS[asked.device]}
    lines = heading(asked.device, asked.depth, asked.threads)
    for seconds in asked.seconds:
        lines += rows(seconds, models, spec, asked.rounds, asked.device)
        print("\n".join(lines), end="\n\n", flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date.today().isoformat()}-{hardware().replace(' ', '-').lower()}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def hardware() -> str:
    """Return the name of what computes."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    cpuinfo = Path("/proc/cpuinfo")
    named = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = named[0].split(":")[1].strip() if named else platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def heading(device: str, depth: int, threads: int) -> list[str]:
    unit = "CPU-seconds" if device == "cpu" else "seconds"
    return [
        f"{hardware()}, {os.cpu_count()} processors, {threads} threads, torch {torch.__version__}, DiT depth {depth}",
        "",
        f"| audio | work | variant | {unit} | times plain | SNR dB |",
        "|---|---|---|---|---|---|",
    ]


def built(spec: DiTSpec, precision: str, device: str) -> tuple[DiT, Same]:
    torch.manual_seed(0)
    dit, same = (module.eval().requires_grad_(False) for module in (DiT(spec), Same(SMALL_SAME)))
    apply_precision(dit, same, PrecisionChoice(precision, "cuda" if device == "gpu" else "cpu", False, "benchmark"))
    return dit, same


@torch.inference_mode()
def rows(
    seconds: float, models: dict[str, tuple[DiT, Same]], spec: DiTSpec,
    num_rounds: int, device: str,
) -> list[str]:  # fmt: skip
    """Measure one length: a step of the DiT, and the decode of the latents asked for."""
    frames = -(-round((seconds + HEADROOM_SECONDS) * SAMPLE_RATE) // SAMPLES_PER_FRAME)
    asked_frames = -(-round(seconds * SAMPLE_RATE) // SAMPLES_PER_FRAME)
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(1, spec.latent_dim, frames, generator=draw)
    context, global_ = torch.randn(1, TOKENS, 768, generator=draw), torch.randn(1, 768, generator=draw)
    given = Conditioning(context, global_, torch.zeros(1, spec.local_dim, frames))
    t = torch.tensor([0.5])
    prepared = {name: dit.prepare(given) for name, (dit, _) in models.items()}
    steps: dict[str, Callable[[], Tensor]] = {
        name: lambda name=name: models[name][0](x, t, prepared[name]) for name in models
    }
    decodes: dict[str, Callable[[], Tensor]] = {
        name: lambda name=name: models[name][1].decode(x[..., : min(asked_frames, 128)]) for name in models
    }
    told = table(f"{seconds:g} s", "DiT step", steps, num_rounds, device)
    return told + table(f"{seconds:g} s", "decode, 128 latents at most", decodes, num_rounds, device)


def table(audio: str, work: str, calls: dict[str, Callable[[], Tensor]], num_rounds: int, device: str) -> list[str]:
    best = dict.fromkeys(calls, float("inf"))
    results = {name: call() for name, call in calls.items()}
    for _ in range(num_rounds):
        for name, call in calls.items():
            best[name] = min(best[name], timed(call, device))
    first = next(iter(calls))
    return [
        f"| {audio} | {work} | {name} | {best[name]:.3f} | {best[first] / best[name]:.2f} "
        f"| {snr_db(results[first], results[name]):.0f} |"
        for name in calls
    ]


def timed(call: Callable[[], Tensor], device: str) -> float:
    clock = process_time if device == "cpu" else perf_counter
    started = clock()
    call()  # the answer lies on the CPU, so a GPU has finished
    return clock() - started


def snr_db(exact: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (exact - other).square().mean()))


if __name__ == "__main__":
    main()
