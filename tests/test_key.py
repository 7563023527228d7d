"""The estimated key: chords and scales with harmonics, in every key; little confidence in noise."""

from __future__ import annotations

import numpy as np
import pytest

from sa3_daw.music.key import NAMES, Chroma

MAJOR_PROGRESSION = ((0, 4, 7), (5, 9, 0), (7, 11, 2), (0, 4, 7))
MINOR_PROGRESSION = ((0, 3, 7), (5, 8, 0), (7, 11, 2), (0, 3, 7))


def chords(tonic: int, progression: tuple[tuple[int, ...], ...], rate: int = 44100) -> np.ndarray:
    time = np.arange(rate) / rate
    parts = []
    for chord in progression:
        mono = np.zeros(rate)
        for note in chord:
            hertz = 440 * 2 ** ((tonic + note - 9) / 12) / 2
            mono += sum(np.sin(2 * np.pi * hertz * n * time) / n**2 for n in range(1, 6))
        parts.append(0.1 * mono * np.exp(-time))
    mono = np.concatenate(parts).astype(np.float32)
    return np.stack((mono, mono))


def heard(samples: np.ndarray, rate: int = 44100) -> Chroma:
    chroma = Chroma(rate)
    for piece in np.array_split(samples, 5, axis=1):
        chroma.add(piece)
    return chroma


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("mode", "progression"), [("major", MAJOR_PROGRESSION), ("minor", MINOR_PROGRESSION)])
def test_a_cadence_names_its_key(tonic: int, mode: str, progression: tuple[tuple[int, ...], ...]) -> None:
    report = heard(chords(tonic, progression)).key()
    assert report is not None and report.key == f"{NAMES[tonic]} {mode}" and report.confidence > 0.5


def test_the_key_does_not_depend_on_the_rate() -> None:
    for rate in (48000, 96000):
        report = heard(chords(2, MAJOR_PROGRESSION, rate), rate).key()
        assert report is not None and report.key == "D major"


def test_noise_earns_little_confidence_and_silence_no_key() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 200_000))).astype(np.float32)
    report = heard(noise).key()
    assert report is None or report.confidence < 0.3
    assert heard(np.zeros((2, 100_000), dtype=np.float32)).key() is None
