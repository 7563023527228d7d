"""A picture of a clip: waveform over a log-frequency spectrogram, with bars and beats. Knows no daemon and no model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sa3_daw.music.timeline import TempoMap

WIDTH, HEIGHT = 1600, 940
LEFT, RIGHT = 84, 1576
WAVE_TOP, WAVE_BOTTOM = 96, 316
SPECTRUM_TOP, SPECTRUM_BOTTOM = 352, 872
LOW_HZ, HIGH_HZ = 30.0, 20_000.0
RANGE_DB = 84.0

BACKGROUND, PANEL = (17, 18, 24), (24, 26, 34)
TEXT, FAINT = (226, 228, 236), (150, 154, 168)
BEAT_LINE, BAR_LINE = (58, 62, 78), (120, 126, 150)
WAVE_PEAK, WAVE_RMS = (86, 134, 210), (156, 196, 250)
HEAT = ((6, 6, 14), (36, 16, 78), (104, 28, 110), (176, 46, 92), (234, 96, 54), (252, 174, 62), (252, 246, 190))
"""Colours from -RANGE_DB to the loudest point, evenly spaced."""

LONG_WINDOW_SECONDS, SHORT_WINDOW_SECONDS = 0.093, 0.012
BLEND_HZ = (250.0, 1500.0)
"""Below, the long window shows notes; above, the short one shows hits; between, they are mixed."""


@dataclass(frozen=True)
class Plot:
    """A clip's samples [C, n] and the horizontal axis they are drawn on."""

    samples_CS: NDArray[np.float32]
    sample_rate: int
    columns: int = RIGHT - LEFT

    @property
    def seconds(self) -> float:
        return len(self.samples_CS[0]) / self.sample_rate

    def x(self, seconds: float) -> float:
        return LEFT + seconds / self.seconds * self.columns


def draw_picture(
    path: Path | BinaryIO,
    samples_CS: NDArray[np.float32],
    sample_rate: int,
    tempo: TempoMap,
    start_sample: int,
    title: str,
) -> None:
    """Write a PNG of a clip that starts at ``start_sample`` on the timeline; ``title`` is its first line."""
    plot = Plot(samples_CS, sample_rate)
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    image.paste(Image.fromarray(spectrogram(plot)), (LEFT, SPECTRUM_TOP))
    draw = ImageDraw.Draw(image)
    draw.rectangle((LEFT, WAVE_TOP, RIGHT, WAVE_BOTTOM), fill=PANEL)
    draw_beats(draw, plot, tempo, start_sample)
    draw_wave(draw, plot)
    draw_frequency_axis(draw)
    draw_time_axis(draw, plot)
    draw.text((LEFT, 14), title[:120], font=ImageFont.load_default(26), fill=TEXT)
    peak_db = 20 * math.log10(max(float(np.abs(samples_CS).max(initial=0)), 1e-5))
    facts = f"{samples_CS.shape[1]} samples at {sample_rate} Hz, {plot.seconds:.3f} s, peak {peak_db:.1f} dBFS"
    draw.text((LEFT, 50), facts, font=ImageFont.load_default(17), fill=FAINT)
    image.save(path, format="PNG")


def spectrogram(plot: Plot, rows: int = SPECTRUM_BOTTOM - SPECTRUM_TOP) -> NDArray[np.uint8]:
    """Return the coloured spectrogram [rows, columns, 3], high frequencies on top."""
    row_hz = HIGH_HZ * (LOW_HZ / HIGH_HZ) ** (np.arange(rows) / (rows - 1))
    mono = plot.samples_CS.mean(axis=0)
    long_db = levels_db(mono, plot, LONG_WINDOW_SECONDS, row_hz)
    short_db = levels_db(mono, plot, SHORT_WINDOW_SECONDS, row_hz)
    low, high = np.log(BLEND_HZ)
    share = np.clip((np.log(row_hz) - low) / (high - low), 0, 1)[:, None]
    level_db = (1 - share) * long_db + share * short_db
    position = np.clip(1 + (level_db - level_db.max()) / RANGE_DB, 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(position, stops, [colour[channel] for colour in HEAT]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def levels_db(
    mono: NDArray[np.float32], plot: Plot, window_seconds: float, row_hz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return levels [rows, columns] from windows centred on every column, a full-scale sine at 0 dB."""
    size = 2 ** math.ceil(math.log2(window_seconds * plot.sample_rate))
    window = np.hanning(size)
    padded = np.pad(mono, size // 2)
    centres = np.linspace(0, len(mono) - 1, plot.columns).astype(int)
    bins = np.clip(row_hz / plot.sample_rate * size, 0, size // 2)
    below = np.floor(bins).astype(int)
    above, share = np.minimum(below + 1, size // 2), (bins - below)[:, None]
    levels = np.empty((len(row_hz), plot.columns))
    for first in range(0, plot.columns, 256):
        frames = np.stack([padded[centre : centre + size] for centre in centres[first : first + 256]])
        power = np.square(np.abs(np.fft.rfft(frames * window))).T * (2 / window.sum()) ** 2
        levels[:, first : first + 256] = (1 - share) * power[below] + share * power[above]
    return 10 * np.log10(levels + 1e-14)


def draw_wave(draw: ImageDraw.ImageDraw, plot: Plot) -> None:
    """Draw the peak outline of both channels with the RMS inside it, full scale at the panel's edges."""
    middle, reach = (WAVE_TOP + WAVE_BOTTOM) / 2, (WAVE_BOTTOM - WAVE_TOP) / 2 - 4
    edges = np.linspace(0, plot.samples_CS.shape[1], plot.columns + 1).astype(int)
    for column, (start, end) in enumerate(pairwise(edges)):
        piece = plot.samples_CS[:, start : max(end, start + 1)]
        rms = float(np.sqrt(np.square(piece).mean()))
        x = LEFT + column
        for low, high, colour in ((piece.min(), piece.max(), WAVE_PEAK), (-rms, rms, WAVE_RMS)):
            top, bottom = (middle - reach * float(np.clip(value, -1, 1)) for value in (high, low))
            draw.line((x, top, x, bottom), fill=colour)


def draw_beats(draw: ImageDraw.ImageDraw, plot: Plot, tempo: TempoMap, start_sample: int) -> None:
    """Draw a line through both panels at every beat, brighter and numbered at every bar (counted from 1)."""
    font = ImageFont.load_default(15)
    lines = list(beat_lines(plot, tempo, start_sample))
    bars = [seconds for seconds, number in lines if number]
    room = 48 / plot.columns * plot.seconds
    last_label = -room
    for seconds, bar_number in lines:
        x = plot.x(seconds)
        if bar_number or len(lines) <= 160:
            colour = BAR_LINE if bar_number else BEAT_LINE
            draw.line((x, WAVE_TOP, x, WAVE_BOTTOM), fill=colour)
            if len(bars) <= 64:
                draw.line((x, SPECTRUM_TOP - 8, x, SPECTRUM_TOP - (1 if bar_number else 5)), fill=colour)
        if bar_number and seconds - last_label >= room and x < RIGHT - 20:
            draw.text((x + 5, SPECTRUM_TOP - 28), f"bar {bar_number}", font=font, fill=FAINT)
            last_label = seconds


def beat_lines(plot: Plot, tempo: TempoMap, start_sample: int) -> Iterator[tuple[float, int]]:
    """Yield (seconds from the clip's start, bar number or 0) for every beat inside the clip."""
    start = Fraction(start_sample, plot.sample_rate)
    end = start + Fraction(plot.samples_CS.shape[1], plot.sample_rate)
    bar = math.floor(tempo.bar_at(tempo.ppq_at(start)))
    while tempo.seconds_at(tempo.ppq_of_bar(bar)) < end:
        position, next_bar = tempo.ppq_of_bar(bar), tempo.ppq_of_bar(bar + 1)
        beat_ppq = Fraction(4, tempo.point_at(position).denominator)
        bar += 1
        label = bar
        while position < next_bar:
            seconds = tempo.seconds_at(position)
            if start <= seconds < end:
                yield float(seconds - start), label
            position, label = position + beat_ppq, 0


def draw_frequency_axis(draw: ImageDraw.ImageDraw) -> None:
    font = ImageFont.load_default(15)
    for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000):
        share = math.log(hz / LOW_HZ) / math.log(HIGH_HZ / LOW_HZ)
        y = SPECTRUM_BOTTOM - 1 - share * (SPECTRUM_BOTTOM - SPECTRUM_TOP - 1)
        draw.line((LEFT - 6, y, LEFT - 1, y), fill=FAINT)
        draw.text((LEFT - 11, y), f"{hz} Hz" if hz < 1000 else f"{hz // 1000} kHz", font=font, fill=FAINT, anchor="rm")
    middle = (WAVE_TOP + WAVE_BOTTOM) / 2
    for level, y in (("+1", WAVE_TOP + 4), ("0", middle), ("-1", WAVE_BOTTOM - 4)):
        draw.text((LEFT - 11, y), level, font=font, fill=FAINT, anchor="rm")


def draw_time_axis(draw: ImageDraw.ImageDraw, plot: Plot) -> None:
    font = ImageFont.load_default(15)
    step = next(step for step in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600) if plot.seconds / step <= 16)
    for index in range(int(plot.seconds / step) + 1):
        x = plot.x(index * step)
        draw.line((x, SPECTRUM_BOTTOM, x, SPECTRUM_BOTTOM + 6), fill=FAINT)
        draw.text((x, SPECTRUM_BOTTOM + 10), f"{index * step:g} s", font=font, fill=FAINT, anchor="mt")
    scale = f"colour: {RANGE_DB:g} dB below the loudest point"
    draw.text((RIGHT, HEIGHT - 16), scale, font=font, fill=FAINT, anchor="rb")
