"""A rendered project as one page: players, pictures, what was measured and what went wrong. Knows no audio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from sa3_daw.render.page import failed, with_sound, without_sound, write_page
from sa3_daw.render.project.nodes import OutputWork, Plan
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.run import Entry, Manifest, picture_of


def write_report(folder: Path, title: str, plan: Plan, manifest: Manifest, problems: Sequence[Problem]) -> Path:
    """Write the page beside the files it points to; return its path."""
    wrong = "".join(failed(f"line {each.line}: {each.message}") for each in problems)
    articles = "".join(
        article(node.work.path, manifest.entry(node.work.path, node.key))
        for node in plan.nodes.values()
        if isinstance(node.work, OutputWork)
    )
    return write_page(folder, title, f"<p>{plan.num_samples} samples at {plan.rate} Hz</p>{wrong}{articles}")


def article(path: str, entry: Entry | None) -> str:
    """Return one file's part of the page."""
    head = f"<h2>{escape(path)}</h2>"
    if entry is None:
        return without_sound(head, "not made")
    return with_sound(head + "".join(map(failed, entry["notes"])), path, picture_of(path), facts_of(entry))


def facts_of(entry: Entry) -> dict[str, str]:
    rate, loudness = entry["sample_rate"], entry["loudness_lufs"]
    return {
        "length": f"{entry['num_samples']} samples at {rate} Hz ({entry['num_samples'] / rate:.3f} s)",
        "loudness": "too short or silent" if loudness is None else f"{loudness:.1f} LUFS",
        "true peak": f"{entry['true_peak_db']:.1f} dBTP",
        "gain": f"{entry['gain_db']:+.2f} dB",
    }
