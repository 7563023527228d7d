"""Tables of ratios: our plain path, our fast paths and diffusers' DiT, with random weights of small-music's widths.

Run: python -m benchmarks.run cpu [--depth N] [--seconds S ...] [--steps N] [--rounds N] [--variants NAME ...]
     [--autoencoder S ...] [--minutes M]
Every row is measured in a process of its own, in CPU-seconds at one thread, and written at once to benchmarks/results/
(JSON, and the tables as Markdown). Rows that are there already are not measured again, so the same command, given
again, goes on where it stopped: after --minutes it starts no further row. The best of all rounds counts.
A quick run: --depth 4 --seconds 10 --rounds 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from time import monotonic

import torch

from benchmarks.fresh import in_fresh_process, measure_autoencoder, measure_load
from benchmarks.laps import NUM_STEPS, PLAIN, RIVAL, measure_decode, measure_steps
from benchmarks.rows import AT_ONCE, COPIED, Row, Rows, Values, decoded_in
from benchmarks.sizes import SMALL_DIT, Sizes, write_model

RESULTS = Path(__file__).parent / "results"
LOADS = (COPIED, "fp32, mapped", "w8a8, converted at load", "w8a8, from its copy")


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None, results: Path = RESULTS) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["gpu"]:
        from benchmarks.gpu import main as measure_gpu

        measure_gpu(given[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "gpu"), help="gpu has options of its own: gpu --help")
    parser.add_argument("--depth", type=int, default=SMALL_DIT.depth, help="blocks of the DiT")
    parser.add_argument("--seconds", type=float, nargs="*", default=[5.0, 10.0, 30.0, 120.0], help="lengths of clips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", default=["w8a8", "w8a8 compiled"], help="beside fp32 and diffusers")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="sampled; eight are reckoned from fewer")
    parser.add_argument(
        "--autoencoder", type=float, nargs="*", default=[], help="lengths to encode and decode, seconds"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no row after so long")
    asked = parser.parse_args(given)
    if asked.device == "gpu":
        parser.error("gpu comes first: it has options of its own, gpu --help")
    sizes = sizes or Sizes(replace(SMALL_DIT, depth=asked.depth))
    name = f"{date.today().isoformat()}-{hardware().replace(' ', '-').lower()}-depth-{sizes.dit.depth}.json"
    rows = Rows(results / name, heading(sizes))
    folder = Path(tempfile.gettempdir()) / f"sa3-daw-benchmark-{sizes.dit.width}x{sizes.dit.depth}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")  # set before any measuring process starts
    if not (folder / "model.safetensors").exists():
        in_fresh_process(write_model, sizes, folder)
    wanted = [Row("load", way, 0.0, number) for number in range(asked.rounds) for way in LOADS]
    for seconds in asked.seconds:
        for number in range(asked.rounds):
            wanted += [Row("steps", variant, seconds, number) for variant in (PLAIN, *asked.variants, RIVAL)]
            ways = dict.fromkeys(decoded_in(variant) for variant in (PLAIN, *asked.variants))
            wanted += [Row("decode", way, seconds, number) for way in (AT_ONCE, *ways)]
    wanted += [Row("autoencoder", way, seconds, 0) for seconds in asked.autoencoder for way in ("decode", "encode")]
    left = [row for row in wanted if row not in rows.values]
    stop_at = monotonic() + 60 * asked.minutes
    while left and monotonic() < stop_at:
        row = left.pop(0)
        rows.add(row, measured(row, sizes, folder, asked.steps))
        print(f"{row.kind} {row.variant} {row.seconds:g} s: {rows.values[row]}", flush=True)
    print("\n".join([rows.heading, "", *rows.tables()]))
    if left:
        print(f"{len(left)} rows are left; give the same command again")


def measured(row: Row, sizes: Sizes, folder: Path, num_steps: int) -> Values:
    """Measure one row in a fresh process."""
    if row.kind == "load":
        return in_fresh_process(measure_load, sizes, folder, row.variant)
    if row.kind == "steps":
        return in_fresh_process(measure_steps, sizes, folder, row.seconds, row.variant, num_steps)
    if row.kind == "decode":
        return in_fresh_process(measure_decode, sizes, folder, row.seconds, row.variant)
    return in_fresh_process(measure_autoencoder, sizes, folder, row.variant, row.seconds)


def hardware() -> str:
    """Return the name of what computes."""
    cpuinfo = Path("/proc/cpuinfo")
    named = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = named[0].split(":")[1].strip() if named else platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def heading(sizes: Sizes) -> str:
    cores = f"{hardware()}, {os.cpu_count()} processors, 1 thread"
    return f"{cores}, torch {torch.__version__}, DiT depth {sizes.dit.depth}"


if __name__ == "__main__":
    main()
