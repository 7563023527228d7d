"""Measured rows on disk and the tables made of them. Knows no model and no clock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.laps import NUM_STEPS, PLAIN, RIVAL

COPIED = "fp32, built and copied"
AT_ONCE = f"{PLAIN}, all at once"

Values = dict[str, float]


@dataclass(frozen=True)
class Row:
    """What one process measured in one round: a load, a clip's steps or its decoding, or an autoencoder's memory."""

    kind: str
    variant: str
    seconds: float
    round: int


@dataclass
class Rows:
    """All rows of one machine, depth and day; each is written as soon as it is measured."""

    path: Path
    heading: str

    def __post_init__(self) -> None:
        stored = json.loads(self.path.read_text("utf-8"))["rows"] if self.path.exists() else []
        self.values: dict[Row, Values] = {Row(**entry["row"]): entry["values"] for entry in stored}

    def add(self, row: Row, values: Values) -> None:
        """Keep a row and write all of them, and their tables."""
        self.values[row] = {key: round(value, 4) for key, value in values.items()}
        entries = [{"row": asdict(row), "values": values} for row, values in self.values.items()]
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"heading": self.heading, "rows": entries}, indent=1) + "\n", "utf-8")
        part.replace(self.path)
        self.path.with_suffix(".md").write_text("\n".join([self.heading, "", *self.tables()]) + "\n", "utf-8")

    def best(self, kind: str, seconds: float = 0.0) -> dict[str, Values]:
        """Return by variant the least of every value over the rounds."""
        found: dict[str, Values] = {}
        for row, values in self.values.items():
            if (row.kind, row.seconds) == (kind, seconds):
                kept = found.setdefault(row.variant, values)
                found[row.variant] = {key: min(value, kept[key]) for key, value in values.items()}
        return found

    def tables(self) -> list[str]:
        """Return loads, clips and memory as Markdown, each compared with plain."""
        lengths = sorted({row.seconds for row in self.values if row.kind == "steps"})
        clips = [
            line
            for seconds in lengths
            for line in _clip_lines(seconds, self.best("steps", seconds), self.best("decode", seconds))
        ]
        return [
            "| load | CPU-seconds | times copied | resident MB | of copied | own MB | of copied |",
            "|---|---|---|---|---|---|---|",
            *_load_lines(self.best("load")),
            "",
            "| audio | work | variant | CPU-seconds | times plain | SNR dB |",
            "|---|---|---|---|---|---|",
            *clips,
            "",
            "| autoencoder, in pieces | audio | CPU-seconds | peak MB |",
            "|---|---|---|---|",
            *(
                f"| {row.variant} | {row.seconds:g} s | {values['CPU-seconds']:.1f} | {values['peak MB']:.0f} |"
                for row, values in self.values.items()
                if row.kind == "autoencoder"
            ),
        ]


def _load_lines(loads: dict[str, Values]) -> list[str]:
    plain = loads.get(COPIED)
    return [
        f"| {way} | {it['CPU-seconds']:.3f} | {plain['CPU-seconds'] / it['CPU-seconds']:.1f} "
        f"| {it['resident MB']:.0f} | {it['resident MB'] / plain['resident MB']:.2f} "
        f"| {it['own MB']:.0f} | {it['own MB'] / plain['own MB']:.2f} |"
        for way, it in loads.items()
        if plain
    ]


def decoded_in(variant: str) -> str:
    """Return how the latents of a variant are decoded: in pieces, and never in eight bits."""
    return f"{variant.replace('w8a8', PLAIN)}, streamed"


def _clip_lines(seconds: float, steps: dict[str, Values], decodes: dict[str, Values]) -> list[str]:
    """Compare each kind of work with plain: fp32, and every latent decoded at once after the last step."""
    if PLAIN not in steps:
        return []
    rows: list[tuple[str, str, float, float, str]] = []
    for name, laps in steps.items():
        rows.append(("DiT step", name, laps["DiT step"], steps[PLAIN]["DiT step"], ""))
    for name, laps in steps.items():
        work = f"{laps['steps']:g} steps" if laps["steps"] == NUM_STEPS else f"{NUM_STEPS} steps, reckoned"
        snr = f"{laps['SNR dB']:.0f}" if name != PLAIN else ""
        rows.append((work, name, _sampling(laps), _sampling(steps[PLAIN]), snr))
    if AT_ONCE in decodes:
        whole = decodes[AT_ONCE]["decode"]
        for way, laps in decodes.items():
            snr = f"{laps['SNR dB']:.0f}" if way != AT_ONCE else ""
            rows.append(("decode", way, laps["decode"], whole, snr))
        whole += _sampling(steps[PLAIN])
        for work, lap in (("first audio", "first audio"), ("end to end", "decode")):
            rows.append((work, AT_ONCE, whole, whole, ""))
            for name, laps in steps.items():
                if name != RIVAL and decoded_in(name) in decodes:
                    taken = _sampling(laps) + decodes[decoded_in(name)][lap]
                    rows.append((work, f"{name}, streamed", taken, whole, ""))
    return [
        f"| {seconds:g} s | {work} | {name} | {taken:.3f} | {whole / taken:.2f} | {snr} |"
        for work, name, taken, whole, snr in rows
    ]


def _sampling(laps: Values) -> float:
    """Return what eight steps take; a row may have sampled fewer."""
    return laps["sampling"] * NUM_STEPS / laps["steps"]
