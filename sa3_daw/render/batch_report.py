"""A batch's entries as one HTML page: players, pictures and what was measured. Knows no audio and no daemon."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from sa3_daw.render.batch import Entry

REPORT = "report.html"
STYLE = """body{font:15px system-ui,sans-serif;background:#111218;color:#e2e4ec;margin:2rem}
article{display:grid;grid-template-columns:26rem 1fr;gap:1.5rem;border-top:1px solid #333;padding:1rem 0}
img{width:26rem}audio{width:100%}.failed{color:#ff8a70}dl{display:grid;grid-template-columns:9rem 1fr;margin:.5rem 0}
dd{margin:0}@media(max-width:60rem){article{grid-template-columns:1fr}img{width:100%}}"""


def write_report(folder: Path, entries: Sequence[Entry], num_items: int) -> Path:
    """Write the page beside the files it points to, whole or not at all; return its path."""
    num_failed = sum("error" in entry for entry in entries)
    summary = f"{len(entries) - num_failed} of {num_items} files, {num_failed} failed"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{summary}</title><style>{STYLE}</style>'
        f"<h1>{summary}</h1>{''.join(map(article, entries))}</html>\n"
    )
    path = folder / REPORT
    part = path.with_suffix(".html.part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def article(entry: Entry) -> str:
    """Return one entry's part of the page."""
    head = f"<h2>{escape(entry['file'])}</h2><p>{escape(entry['prompt'])}</p>"
    if "error" in entry:
        reason = f'<p class="failed">{escape(entry["error"])}</p>'
        return f'<article><p class="failed">failed</p><div>{head}{reason}</div></article>'
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts_of(entry).items())
    return (
        f'<article><img loading="lazy" alt="waveform and spectrogram" src="{quote(entry["picture"])}"><div>{head}'
        f'<audio controls preload="none" src="{quote(entry["file"])}"></audio><dl>{facts}</dl></div></article>'
    )


def facts_of(entry: Entry) -> dict[str, str]:
    measured = entry["measured"]
    beats, loudness, key = measured["beats"], measured["loudness_lufs"], measured["key"]
    rate = entry["sample_rate"]
    tempo = f"{beats['bpm']:.2f} BPM, confidence {beats['confidence']:.2f}" if beats else "no beat found"
    return {
        "length": f"{entry['num_samples']} samples at {rate} Hz ({entry['num_samples'] / rate:.3f} s)",
        "seed": f"{entry['seed']}, model {entry['model']}",
        "tempo asked": f"{entry['bpm']:g} BPM",
        "measured": tempo,
        "loudness": "too short or silent" if loudness is None else f"{loudness:.1f} LUFS",
        "peak": f"{measured['peak_db']:.1f} dBFS",
        "key": f"{key['key']}, confidence {key['confidence']:.2f}" if key else "none found",
    }
