"""One table of a GPU's figures beside the published ones: whole clips, their steps, first audio, memory.

Run: python -m benchmarks.run gpu [--folder DIR] [--minutes M] [--ways NAME ...] [--precisions NAME ...]
Models of the published widths and depths with random weights make clips on the engine's own path: noise from the CPU,
eight steps of ping-pong, streamed decode to the CPU; a prompt's states are taken as remembered. The best of several
rounds counts, after those that warm up and record. Each row is written as soon as it is measured, as JSON and
Markdown; after --minutes no further row is started. Knows no daemon and no file of weights.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from time import monotonic, perf_counter

import torch
from torch import Tensor

from benchmarks.laps import HEADROOM_SECONDS, NUM_STEPS, TOKENS, snr_db
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.denoise import Sampling, denoise
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.gpu import compute_exactly
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec
from sa3_daw.sampling.guidance import Guidance

CONFIGS = Path(__file__).parent.parent / "tests" / "published"
RESULTS = Path(__file__).parent / "results"

PUBLISHED_SECONDS = {
    ("small-music", 120.0): (0.45, 0.044),
    ("medium", 30.0): (0.65, 0.05),
    ("medium", 120.0): (0.78, 0.13),
    ("medium", 380.0): (1.31, 0.43),
}
"""What the original's authors measured on one H200, by model and seconds of audio: with PyTorch, with TensorRT."""

WAYS = ("graphs", "plain", "compiled, graphs")
PRECISIONS = ("bf16", "fp32")
WARM_UPS = 2
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One clip: the best of all rounds, in seconds; memory in MB. ``snr_db`` is of one step against float32."""

    model: str
    audio_seconds: float
    precision: str
    way: str
    warm_up: float
    step: float
    sampling: float
    first_audio: float
    decode: float
    whole: float
    peak_mb: float
    num_graphs: int
    snr_db: float


def main(arguments: Sequence[str] | None = None, specs: dict[str, ModelSpec] | None = None) -> None:
    """Measure what fits into the time; ``specs`` stand for the published models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the JSON and the Markdown go")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no row after so long")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args(arguments)
    name = hardware(asked.device)
    path = asked.folder / f"{date.today().isoformat()}-{name.replace(' ', '-').lower()}.json"
    heading = f"{name}, torch {torch.__version__}, {NUM_STEPS} steps, random weights"
    stop_at, rows = monotonic() + 60 * asked.minutes, list[Row]()
    models = {model: (specs or {}).get(model) or published_spec(model) for model, _ in PUBLISHED_SECONDS}
    for precision, way, model in product(asked.precisions, asked.ways, models):
        if monotonic() > stop_at:
            break
        try:
            for row in measured(model, models[model], precision, way, torch.device(asked.device), stop_at):
                rows.append(row)
                write(path, heading, rows)
                print(table([row])[-1], flush=True)
        except RuntimeError as error:  # such as want of memory, or of a compiler
            print(f"{model}, {precision}, {way}: {error!s:.300}", flush=True)
    print("\n".join(["", heading, "", *table(rows)]))


def measured(
    model: str, spec: ModelSpec, precision: str, way: str, device: torch.device, stop_at: float
) -> Iterator[Row]:
    """Yield one row for each length of a model."""
    bench = Bench(spec, precision, way, device)
    for published, seconds in PUBLISHED_SECONDS:
        if published == model and monotonic() < stop_at:
            yield bench.measured(model, seconds)


def hardware(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()


def published_spec(model: str) -> ModelSpec:
    config = json.loads((CONFIGS / f"stable-audio-3-{model}.json").read_text("utf-8"))
    return ModelSpec.from_config(config, model)


class Bench:
    """One model on the device in one precision and way; clips of any length."""

    def __init__(self, spec: ModelSpec, precision: str, way: str, device: torch.device) -> None:
        self._spec, self._precision, self._way, self._device = spec, precision, way, device
        compute_exactly()
        torch.manual_seed(1)
        with device:
            dit, self._same = DiT(spec.dit).eval(), Same(spec.same).eval()
        given = self._conditioning(64)
        with torch.inference_mode():
            x = torch.ones(1, spec.dit.latent_dim, 64)
            exact = dit(x, torch.tensor([0.5]), dit.prepare(given))
            choice = PrecisionChoice(precision, device.type, way.startswith("compiled"), "benchmark")
            apply_precision(dit, self._same, choice)
            self._snr_db = snr_db(exact, dit(x, torch.tensor([0.5]), dit.prepare(given)))
        self._graphed = GraphedDiT(dit)

    def measured(self, model: str, seconds: float) -> Row:
        """Make one clip again and again."""
        self._forget_memory()
        started = perf_counter()
        for _ in range(WARM_UPS):
            self._clip(seconds)
        warm_up = perf_counter() - started
        laps = [self._clip(seconds) for _ in range(ROUNDS)]
        best = {name: min(lap[name] for lap in laps) for name in laps[0]}
        peak = torch.cuda.max_memory_allocated() / 1e6 if self._device.type == "cuda" else 0.0
        return Row(
            model, seconds, self._precision, self._way, warm_up, best["sampling"] / NUM_STEPS, best["sampling"],
            best["first audio"], best["decode"], best["whole"], peak, self._graphed.num_recorded, self._snr_db,
        )  # fmt: skip

    @torch.inference_mode()
    def _clip(self, seconds: float) -> dict[str, float]:
        """Make a clip from its conditioning to samples on the CPU, as the engine does."""
        spec, per_frame, rate = self._spec, self._spec.samples_per_frame, self._spec.sample_rate
        num_frames = -(-round((seconds + HEADROOM_SECONDS) * rate) // per_frame)
        num_frames += -num_frames % spec.same.frame_alignment
        asked_frames = -(-round(seconds * rate) // per_frame)
        given, nothing = self._conditioning(num_frames), torch.zeros(1, spec.dit.latent_dim, num_frames)
        forward: Callable[..., Tensor] = self._graphed.dit if self._way == "plain" else self._graphed
        started = perf_counter()
        prepared = self._graphed.dit.prepare(given)
        sampling = Sampling("pingpong", NUM_STEPS, Guidance(), 1.0)
        *_, last = denoise(
            lambda x_BDT, t_B: forward(x_BDT, t_B, prepared),
            self._device, sampling, SeededNoise((1,)), torch.zeros(num_frames), nothing,
        )  # fmt: skip
        latents = last.x_BDT.cpu()
        sampled = perf_counter()
        pieces = decode_stream(self._same, latents, asked_frames, rate)
        num_samples = next(pieces).shape[-1]
        heard = perf_counter()
        num_samples += sum(piece.shape[-1] for piece in pieces)
        ended = perf_counter()
        assert num_samples == asked_frames * per_frame
        return {
            "sampling": sampled - started,
            "first audio": heard - started,
            "decode": ended - sampled,
            "whole": ended - started,
        }

    def _conditioning(self, num_frames: int) -> Conditioning:
        spec, draw = self._spec.dit, torch.Generator().manual_seed(1)
        context = torch.randn(1, TOKENS, spec.cond_dim, generator=draw)
        global_ = torch.randn(1, spec.global_dim, generator=draw)
        return Conditioning(context, global_, torch.zeros(1, spec.local_dim, num_frames))

    def _forget_memory(self) -> None:
        gc.collect()  # a compiled model holds itself: the one before would count as this one's memory
        if self._device.type == "cuda":
            self._graphed.forget()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as Markdown beside what was published."""
    lines = [
        "| model | audio | precision | way | whole clip s | published PyTorch s | TensorRT s | times TensorRT "
        "| step ms | first audio s | decode s | warm-up s | peak MB | graphs | step SNR dB |",
        "|" + "---|" * 15,
    ]
    for row in rows:
        pytorch, tensorrt = PUBLISHED_SECONDS[row.model, row.audio_seconds]
        lines.append(
            f"| {row.model} | {row.audio_seconds:g} s | {row.precision} | {row.way} | {row.whole:.3f} | {pytorch} "
            f"| {tensorrt} | {row.whole / tensorrt:.2f} | {1e3 * row.step:.2f} | {row.first_audio:.3f} "
            f"| {row.decode:.3f} | {row.warm_up:.2f} | {row.peak_mb:.0f} | {row.num_graphs} | {row.snr_db:.0f} |"
        )
    return lines


def write(path: Path, heading: str, rows: Sequence[Row]) -> None:
    """Write everything measured so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [asdict(row) for row in rows]
    path.write_text(json.dumps({"heading": heading, "rows": entries}, indent=1) + "\n", "utf-8")
    path.with_suffix(".md").write_text("\n".join([heading, "", *table(rows)]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
