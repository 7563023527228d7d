"""One self-contained HTML page: tables, players and pictures inside the file. Knows no model and no measure."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from sa3_training.spectra import magnitudes, mel_filters

BANDS, WINDOW_SAMPLES = 128, 2048
PICTURE_WIDTH, PICTURE_HEIGHT = 420, 128
RANGE_LOG10 = 3.5
HEAT = np.array(
    ((6, 6, 14), (36, 16, 78), (104, 28, 110), (176, 46, 92), (234, 96, 54), (252, 174, 62), (252, 246, 190))
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222;
  background: #fff; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: 0 1em 1em 0; width: 420px; vertical-align: top; }
figure img, figure audio { width: 420px; display: block; }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2em; max-width: 1600px; }
.beside > div { min-width: 0; overflow-x: auto; }
.note { color: #666; }
"""


@dataclass
class Section:
    """A title, one sentence on how to read it, and its tables and players."""

    title: str
    note: str
    parts: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """Title and note."""
        return f"<h2>{html.escape(self.title)}</h2><p class=note>{html.escape(self.note)}</p>"


class Page:
    """Collects sections from top to bottom; ``text`` is the whole page."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.sections: list[Section] = []

    def section(self, title: str, note: str) -> None:
        """Begin a section, with one sentence on how to read it."""
        self.sections.append(Section(title, note))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """Add a table; numbers get four significant digits."""
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        self.sections[-1].parts.append(f"<table><tr>{cells}</tr>{lines}</table>")

    def clip(self, caption: str, audio_CS: Tensor, sample_rate: int) -> None:
        """Add a player with its spectrogram."""
        self.sections[-1].parts.append(
            f"<figure><figcaption>{html.escape(caption)}</figcaption>"
            f'<img alt="spectrogram" src="data:image/png;base64,{_base64(spectrogram(audio_CS, sample_rate))}">'
            '<audio controls preload="none" src="data:audio/mpeg;base64,'
            f'{_base64(mp3(audio_CS, sample_rate))}"></audio>'
            "</figure>"
        )

    def drawing(self, caption: str, svg: str) -> None:
        """Add an SVG drawing."""
        self.sections[-1].parts.append(f"<figure><figcaption>{html.escape(caption)}</figcaption>{svg}</figure>")

    @property
    def text(self) -> str:
        """The page."""
        return _document(self.title, "".join(s.head + "".join(s.parts) for s in self.sections))


def beside(top: Page, pages: Sequence[Page]) -> str:
    """Return one page: ``top``'s sections, then those of two pages side by side, matched by their titles."""
    titles = dict.fromkeys(section.title for page in pages for section in page.sections)
    blocks = [section.head + "".join(section.parts) for section in top.sections]
    for title in titles:
        found = [next((s for s in page.sections if s.title == title), None) for page in pages]
        head = next(section.head for section in found if section)
        columns = "".join(
            f"<div><h3>{html.escape(page.title)}</h3>{''.join(section.parts) if section else 'not measured'}</div>"
            for page, section in zip(pages, found, strict=True)
        )
        blocks.append(f"{head}<div class=beside>{columns}</div>")
    return _document(top.title, "".join(blocks))


def mp3(audio_CS: Tensor, sample_rate: int) -> bytes:
    """Return audio as MP3, which every browser plays; rates MP3 lacks are refused by soundfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio_CS.clamp(-1, 1).T.numpy(), sample_rate, format="MP3")
    return buffer.getvalue()


def spectrogram(audio_CS: Tensor, sample_rate: int) -> bytes:
    """Return a PNG of the log-mel spectrogram, low frequencies at the bottom."""
    bands = (
        mel_filters(BANDS, WINDOW_SAMPLES, sample_rate) @ magnitudes(audio_CS.mean(0)[None, None], WINDOW_SAMPLES)[0]
    )
    level = torch.log10(bands + 1e-6)
    share = ((level - level.max()) / RANGE_LOG10 + 1).clamp(0, 1).flip(0).numpy()
    position = share * (len(HEAT) - 1)
    low = np.minimum(position.astype(int), len(HEAT) - 2)
    colour = HEAT[low] + (HEAT[low + 1] - HEAT[low]) * (position - low)[..., None]
    image = Image.fromarray(colour.astype(np.uint8)).resize((PICTURE_WIDTH, PICTURE_HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _document(title: str, body: str) -> str:
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"</head><body><h1>{name}</h1>{body}</body></html>\n"
    )


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f"<td class=number>{value:.4g}</td>"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
