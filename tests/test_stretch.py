"""The small time-stretch: exact length, unchanged pitch, onsets where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from sa3_daw.audio.stretch import SEARCH_SECONDS, stretch

RATE = 44100


@pytest.mark.parametrize("ratio", [0.98, 0.995, 1.01, 1.02])
def test_a_tone_keeps_its_pitch_and_level(ratio: float) -> None:
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    out = stretch(np.stack((wave, wave)), ratio, RATE)
    assert out.shape == (2, round(3 * RATE * ratio)) and out.dtype == np.float32
    middle = out[0, RATE : 2 * RATE] * np.hanning(RATE)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert np.abs(out[0, 1000:-1000]).max() == pytest.approx(0.3, abs=0.01)
    assert np.abs(np.diff(out[0])).max() < 1.2 * np.abs(np.diff(wave)).max(), "no step where pieces meet"


def test_onsets_move_with_the_ratio() -> None:
    ratio, times = 1.02, np.arange(0.1, 2.9, 0.25)
    clip = np.zeros((2, 3 * RATE), dtype=np.float32)
    burst = np.exp(-np.arange(600) / 80) * np.random.default_rng(0).standard_normal(600)
    for time in times:
        start = round(time * RATE)
        clip[:, start : start + 600] += burst.astype(np.float32)
    out = np.abs(stretch(clip, ratio, RATE)[0])
    for time in times:
        around = round((time * ratio - 0.05) * RATE)
        onset = around + int(np.argmax(out[around : around + RATE // 10] > 0.2))
        assert abs(onset / RATE - time * ratio) < SEARCH_SECONDS + 0.002


def test_the_ratio_one_changes_nothing() -> None:
    clip = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    assert stretch(clip, 1.0, RATE) is clip
