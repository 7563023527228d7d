"""Measured rows on disk and the tables made of them. Knows no model and no clock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.laps import PLAIN, RIVAL, STEPS

COPIED = "fp32, built and copied"

Values = dict[str, float]


@dataclass(frozen=True)
class Row:
    """What one process measured in one round: a load, a clip, or an autoencoder at work."""

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
        lengths = sorted({row.seconds for row in self.values if row.kind == "clip"})
        clips = [line for seconds in lengths for line in _clip_lines(seconds, self.best("clip", seconds))]
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


def _clip_lines(seconds: float, clips: dict[str, Values]) -> list[str]:
    """Compare each kind of work with plain: fp32, and every latent decoded at once after the last step."""
    if PLAIN not in clips:
        return []
    plain = clips[PLAIN]
    plain_whole = plain[STEPS] + plain["decode all"]
    rows: list[tuple[str, str, float, float, str]] = []
    for work in ("DiT step", STEPS):
        for name, laps in clips.items():
            snr = f"{laps['SNR dB']:.0f}" if work == STEPS and name != PLAIN else ""
            rows.append((work, name, laps[work], plain[work], snr))
    streamed = {f"{name}, streamed": laps for name, laps in clips.items() if name != RIVAL}
    decoding = {name: laps["first chunk"] + laps["other chunks"] for name, laps in streamed.items()}
    rows.append(("decode", "fp32, all at once", plain["decode all"], plain["decode all"], ""))
    rows += [("decode", name, taken, plain["decode all"], "") for name, taken in decoding.items()]
    for work in ("first audio", "end to end"):
        rows.append((work, "fp32, all at once", plain_whole, plain_whole, ""))
        for name, laps in streamed.items():
            taken = laps[STEPS] + (laps["first chunk"] if work == "first audio" else decoding[name])
            rows.append((work, name, taken, plain_whole, ""))
    return [
        f"| {seconds:g} s | {work} | {name} | {taken:.3f} | {whole / taken:.2f} | {snr} |"
        for work, name, taken, whole, snr in rows
    ]
