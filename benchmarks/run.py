"""One table of ratios from one run: our plain path, our fast paths and diffusers' DiT, with random weights.

Run: python -m benchmarks.run cpu [--depth N] [--seconds S ...] [--rounds N] [--precisions NAME ...]
Rounds are interleaved, the best counts, in CPU-seconds at one thread; models have small-music's widths.
The table is printed and written to benchmarks/results/. A quick run: --depth 4 --seconds 10 --rounds 1.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.fresh import measure_loading
from benchmarks.laps import NUM_STEPS, RIVAL, Course, Laps
from benchmarks.sizes import SMALL_DIT, Sizes, random_models

RESULTS = Path(__file__).parent / "results"
RESIDENT_FRAMES = 64


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu",))
    parser.add_argument("--depth", type=int, default=SMALL_DIT.depth, help="blocks of the DiT")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 10.0, 30.0, 120.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["w8a8"], choices=("bf16", "w8a8"), help="beside fp32")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = sizes or Sizes(replace(SMALL_DIT, depth=asked.depth))
    lines = loading_lines(sizes, asked.precisions)
    print("\n".join(lines), end="\n\n", flush=True)
    lines += ["", "| audio | work | variant | CPU-seconds | times plain | SNR dB |", "|---|---|---|---|---|---|"]
    models = random_models(sizes, ["fp32", *asked.precisions])
    for seconds in asked.seconds:
        course = Course(sizes, models, seconds)
        variants = ["fp32", RIVAL, *asked.precisions]
        for variant in variants:
            course.warm_up(variant)
        for _ in range(asked.rounds):
            for variant in variants:
                course.run(variant)
        told = length_lines(seconds, course, variants)
        print("\n".join(told), flush=True)
        lines += told
    results.mkdir(exist_ok=True)
    name = f"{date.today().isoformat()}-{hardware().replace(' ', '-').lower()}-depth-{sizes.dit.depth}.md"
    rounds = f"best of {asked.rounds} rounds"
    (results / name).write_text("\n".join([heading(sizes, rounds), "", *lines]) + "\n", encoding="utf-8")


def hardware() -> str:
    """Return the name of what computes."""
    cpuinfo = Path("/proc/cpuinfo")
    named = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = named[0].split(":")[1].strip() if named else platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def heading(sizes: Sizes, rounds: str) -> str:
    cores = f"{hardware()}, {os.cpu_count()} processors, 1 thread"
    return f"{cores}, torch {torch.__version__}, DiT depth {sizes.dit.depth}, {rounds}"


def loading_lines(sizes: Sizes, precisions: list[str]) -> list[str]:
    ways = ["copied fp32", "mapped fp32", *(f"mapped {precision}" for precision in precisions)]
    loaded = measure_loading(sizes, ways, RESIDENT_FRAMES)
    plain = loaded["copied fp32"]
    return [
        "| load | CPU-seconds | times copied | resident MB | of copied | MB not mapped | of copied |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {way} | {it.seconds:.3f} | {plain.seconds / it.seconds:.1f} "
            f"| {it.resident_mb:.0f} | {it.resident_mb / plain.resident_mb:.2f} "
            f"| {it.own_mb:.0f} | {it.own_mb / plain.own_mb:.2f} |"
            for way, it in loaded.items()
        ),
    ]


def length_lines(seconds: float, course: Course, variants: list[str]) -> list[str]:
    """Compare each kind of work with plain: fp32, and every latent decoded at once after the last step."""
    laps, steps = course.laps, f"{NUM_STEPS} steps"
    plain_decode = laps["decode all", "fp32"]
    plain_whole = laps[steps, "fp32"] + plain_decode
    plain_snr = {name: f"{snr_db(course.latents['fp32'], course.latents[name]):.0f}" for name in variants[1:]}
    rows: list[tuple[str, str, float, float, str]] = []
    for work in ("DiT step", steps):
        for name in variants:
            snr = plain_snr.get(name, "") if work == steps else ""
            rows.append((work, name, laps[work, name], laps[work, "fp32"], snr))
    streamed = [name for name in variants if name != RIVAL]
    rows.append(("decode", "fp32, all at once", plain_decode, plain_decode, ""))
    rows += [("decode", f"{name}, streamed", decoding(laps, name), plain_decode, "") for name in streamed]
    for work in ("first audio", "end to end"):
        rows.append((work, "fp32, all at once", plain_whole, plain_whole, ""))
        for name in streamed:
            decode = laps["first chunk", name] if work == "first audio" else decoding(laps, name)
            rows.append((work, f"{name}, streamed", laps[steps, name] + decode, plain_whole, ""))
    return [
        f"| {seconds:g} s | {work} | {name} | {taken:.3f} | {plain / taken:.2f} | {snr} |"
        for work, name, taken, plain, snr in rows
    ]


def decoding(laps: Laps, variant: str) -> float:
    return laps["first chunk", variant] + laps["other chunks", variant]


def snr_db(exact: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (exact - other).square().mean()))


if __name__ == "__main__":
    main()
