"""A rendered project as one HTML page: players, pictures, what was measured and what went wrong. Knows no audio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from sa3_daw.render.batch_report import REPORT, STYLE
from sa3_daw.render.project.nodes import OutputWork, Plan
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.run import Entry, Manifest, picture_of


def write_report(folder: Path, title: str, plan: Plan, manifest: Manifest, problems: Sequence[Problem]) -> Path:
    """Write the page beside the files it points to, whole or not at all; return its path."""
    works = [node.work for node in plan.nodes.values() if isinstance(node.work, OutputWork)]
    articles = [article(work.path, manifest.entries.get(work.path)) for work in works]
    wrong = "".join(f'<p class="failed">line {each.line}: {escape(each.message)}</p>' for each in problems)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{plan.num_samples} samples at {plan.rate} Hz</p>"
        f"{wrong}{''.join(articles)}</html>\n"
    )
    path = folder / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".html.part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def article(path: str, entry: Entry | None) -> str:
    """Return one file's part of the page."""
    head = f"<h2>{escape(path)}</h2>"
    if entry is None:
        return f'<article><p class="failed">not made</p><div>{head}</div></article>'
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts_of(entry).items())
    notes = "".join(f'<p class="failed">{escape(note)}</p>' for note in entry["notes"])
    return (
        f'<article><img loading="lazy" alt="waveform and spectrogram" src="{quote(picture_of(path))}"><div>{head}'
        f'<audio controls preload="none" src="{quote(path)}"></audio><dl>{facts}</dl>{notes}</div></article>'
    )


def facts_of(entry: Entry) -> dict[str, str]:
    rate, loudness = entry["sample_rate"], entry["loudness_lufs"]
    return {
        "length": f"{entry['num_samples']} samples at {rate} Hz ({entry['num_samples'] / rate:.3f} s)",
        "loudness": "too short or silent" if loudness is None else f"{loudness:.1f} LUFS",
        "true peak": f"{entry['true_peak_db']:.1f} dBTP",
        "gain": f"{entry['gain_db']:+.2f} dB",
    }
