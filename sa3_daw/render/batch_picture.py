"""A small picture of a clip for a report of many: waveform with bars and beats, spectrogram below. Knows no report."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.picture import BAR_LINE, BEAT_LINE, PANEL, WAVE_PEAK, Plot, beat_lines, spectrogram

WIDTH, WAVE_HEIGHT, SPECTRUM_HEIGHT = 640, 72, 168
JPEG_QUALITY = 85
"""About 40 KB a picture; as PNG, which keeps every grain of the noise, it would be ten times that."""
MOST_LINES = 64


def draw_strip(path: Path, samples_CS: NDArray[np.float32], sample_rate: int, tempo: TempoMap) -> None:
    """Write a JPEG of a clip that starts at the tempo map's first bar."""
    plot = Plot(samples_CS, sample_rate, WIDTH)
    image = Image.new("RGB", (WIDTH, WAVE_HEIGHT + SPECTRUM_HEIGHT), PANEL)
    draw = ImageDraw.Draw(image)
    lines = [(seconds / plot.seconds * WIDTH, bar) for seconds, bar in beat_lines(plot, tempo, 0)]
    for x, bar in lines if len(lines) <= MOST_LINES else [line for line in lines if line[1]]:
        draw.line((x, 0, x, WAVE_HEIGHT), fill=BAR_LINE if bar else BEAT_LINE)
    edges = np.linspace(0, samples_CS.shape[1], WIDTH + 1).astype(int)
    middle = WAVE_HEIGHT / 2
    for x, (start, end) in enumerate(pairwise(edges)):
        piece = samples_CS[:, start : max(end, start + 1)].clip(-1, 1)
        draw.line((x, middle - middle * float(piece.max()), x, middle - middle * float(piece.min())), fill=WAVE_PEAK)
    image.paste(Image.fromarray(spectrogram(plot, SPECTRUM_HEIGHT)), (0, WAVE_HEIGHT))
    image.save(path, format="JPEG", quality=JPEG_QUALITY)
