"""Loudness after BS.1770 at any rate and in any pieces; true peaks between samples."""

from __future__ import annotations

import numpy as np
import pytest

from sa3_daw.audio.loudness import LoudnessMeter, k_weighting, loudness_lufs, true_peak_db


def sine(hertz: float, level_db: float, seconds: float, rate: int) -> np.ndarray:
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.stack((wave, wave)).astype(np.float32)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_a_stereo_sine_of_997_hz_reads_its_level(rate: int) -> None:
    # EBU Tech 3341, case 1 and 2: within 0.1 LU.
    for level_db in (-23.0, -33.0):
        assert loudness_lufs(sine(997, level_db, 5, rate), rate) == pytest.approx(level_db, abs=0.05)


def test_quiet_passages_are_gated_out() -> None:
    # EBU Tech 3341, case 3.
    rate = 48000
    parts = [sine(997, level, seconds, rate) for level, seconds in ((-36.0, 10), (-23.0, 60), (-36.0, 10))]
    assert loudness_lufs(np.concatenate(parts, axis=1), rate) == pytest.approx(-23.0, abs=0.1)


def test_the_weighting_at_48_khz_is_the_standards() -> None:
    b1, a1 = [1.53512485958697, -2.69169618940638, 1.19839281085285], [1, -1.69065929318241, 0.73248077421585]
    b2, a2 = [1.0, -2.0, 1.0], [1, -1.99004745483398, 0.99007225036621]
    hertz = np.geomspace(10, 23_000, 50)
    z = np.exp(-2j * np.pi * hertz / 48000)
    standard = [np.polyval(part[::-1], z) for part in (b1, a1, b2, a2)]
    expected = standard[0] / standard[1] * standard[2] / standard[3]
    np.testing.assert_allclose(np.abs(k_weighting(hertz, 48000)), np.abs(expected), rtol=1e-4)


def test_pieces_measure_as_the_whole() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 200_000))).astype(np.float32)
    meter = LoudnessMeter(44100)
    for piece in np.array_split(noise, 37, axis=1):
        meter.add(piece)
    assert meter.integrated() == pytest.approx(loudness_lufs(noise, 44100), abs=1e-6)


def test_silence_and_clips_below_one_block_have_no_loudness() -> None:
    assert loudness_lufs(np.zeros((2, 48000), dtype=np.float32), 48000) is None
    assert loudness_lufs(sine(997, -10, 0.3, 48000), 48000) is None


def test_a_peak_between_two_samples_is_found() -> None:
    rate = 48000
    wave = np.sin(2 * np.pi * rate / 4 * np.arange(rate) / rate + np.pi / 4).astype(np.float32)
    samples = np.stack((wave, wave))
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_db(samples, rate) == pytest.approx(0.0, abs=0.6)  # an abrupt start rings a little above
