"""A page of what was rendered: players beside pictures and facts, complete in one folder. Knows no job and no audio."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

REPORT = "report.html"
STYLE = """body{font:15px system-ui,sans-serif;background:#111218;color:#e2e4ec;margin:2rem}
article{display:grid;grid-template-columns:26rem 1fr;gap:1.5rem;border-top:1px solid #333;padding:1rem 0}
img{width:26rem}audio{width:100%}.failed{color:#ff8a70}dl{display:grid;grid-template-columns:9rem 1fr;margin:.5rem 0}
dd{margin:0}@media(max-width:60rem){article{grid-template-columns:1fr}img{width:100%}}"""


def write_page(folder: Path, title: str, body: str) -> Path:
    """Write the page beside the files it points to, whole or not at all; return its path."""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1>{body}</html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    part = path.with_suffix(".html.part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
    return path


def failed(reason: str) -> str:
    return f'<p class="failed">{escape(reason)}</p>'


def without_sound(head: str, state: str) -> str:
    """Return a file's part of the page when there is no file; ``head`` is HTML."""
    return f"<article>{failed(state)}<div>{head}</div></article>"


def with_sound(head: str, file: str, picture: str, facts: Mapping[str, str]) -> str:
    """Return a file's part of the page; ``head`` is HTML."""
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        f'<article><img loading="lazy" alt="waveform and spectrogram" src="{quote(picture)}"><div>{head}'
        f'<audio controls preload="none" src="{quote(file)}"></audio><dl>{rows}</dl></div></article>'
    )
