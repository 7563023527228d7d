"""The picture shows what is in the clip, where it is, and the beats of its place on the timeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sa3_daw.job import TempoPoint
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.picture import (
    HEIGHT,
    HIGH_HZ,
    LOW_HZ,
    WIDTH,
    Plot,
    beat_lines,
    draw_picture,
    spectrogram,
)

RATE = 44_100


def sine(hz: float, num_samples: int = RATE, sample_rate: int = RATE) -> NDArray[np.float32]:
    wave = np.sin(2 * np.pi * hz * np.arange(num_samples) / sample_rate) / 2
    return np.stack([wave, wave]).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [44_100, 96_000])
@pytest.mark.parametrize("hz", [60.0, 440.0, 9000.0])
def test_a_sine_is_brightest_at_its_frequency(hz: float, sample_rate: int) -> None:
    image = spectrogram(Plot(sine(hz, sample_rate, sample_rate), sample_rate)).astype(float).sum(axis=-1)
    row = int(image[:, image.shape[1] // 2].argmax())
    shown_hz = HIGH_HZ * (LOW_HZ / HIGH_HZ) ** (row / (image.shape[0] - 1))
    assert shown_hz == pytest.approx(hz, rel=0.1)


def test_a_click_is_brightest_at_its_time() -> None:
    samples = np.zeros((2, RATE), dtype=np.float32)
    samples[:, RATE // 4] = 1.0
    image = spectrogram(Plot(samples, RATE)).astype(float).sum(axis=-1)
    assert image[100].argmax() == pytest.approx(image.shape[1] / 4, abs=5)


def test_beats_and_bars_stand_where_the_tempo_map_says() -> None:
    plot = Plot(np.zeros((2, 4 * RATE), dtype=np.float32), RATE)
    lines = list(beat_lines(plot, TempoMap.constant(120.0), RATE))
    assert [seconds for seconds, _ in lines] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert [bar for _, bar in lines] == [0, 0, 2, 0, 0, 0, 3, 0]


def test_a_bar_cut_short_by_a_new_metre_has_fewer_beats() -> None:
    plot = Plot(np.zeros((2, 4 * RATE), dtype=np.float32), RATE)
    tempo = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(2.0, 120.0, 3, 4)))
    assert [bar for _, bar in beat_lines(plot, tempo, 0)] == [1, 0, 2, 0, 0, 3, 0, 0]


@pytest.mark.parametrize("num_samples", [1, 100, RATE])
def test_any_length_and_silence_give_a_whole_picture(tmp_path: Path, num_samples: int) -> None:
    path = tmp_path / "clip.png"
    silence = np.zeros((2, num_samples), dtype=np.float32)
    draw_picture(path, silence, RATE, TempoMap.constant(127.5, 7, 8), 12_345, "silence")
    with Image.open(path) as image:
        assert (image.size, image.format) == ((WIDTH, HEIGHT), "PNG")
