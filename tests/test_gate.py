"""The output gate: broken results are refused by what they sound like, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_daw.errors import BadOutput
from sa3_daw.generation.gate import OutputGate, check_latents, db

RATE = 44100


def tone(amplitude: float, seconds: float = 1.0) -> NDArray[np.float32]:
    wave = amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    return np.stack((wave, wave)).astype(np.float32)


def test_levels_are_those_of_the_whole_clip() -> None:
    gate = OutputGate()
    for piece in np.array_split(tone(0.5), 7, axis=1):
        gate.add(piece)
    peak_db, rms_db = gate.finish()
    assert peak_db == pytest.approx(-6.02, abs=0.01) and rms_db == pytest.approx(-9.03, abs=0.01)


def test_silence_is_refused() -> None:
    gate = OutputGate()
    gate.add(tone(1e-5))
    with pytest.raises(BadOutput, match="silent"):
        gate.finish()


def test_white_noise_is_refused_and_a_noisy_tone_is_not() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32) * 0.1
    gate = OutputGate()
    gate.add(noise)
    with pytest.raises(BadOutput, match="noise"):
        gate.finish()
    gate = OutputGate()
    gate.add(tone(0.3) + 0.3 * noise)
    gate.finish()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_at_once(value: float) -> None:
    broken = tone(0.5)
    broken[1, 1000] = value
    with pytest.raises(BadOutput, match="NaN or infinity"):
        OutputGate().add(broken)


@pytest.mark.parametrize("spread", [0.0, 1e9, float("nan"), float("inf")])
def test_implausible_latents_name_the_seed(spread: float) -> None:
    with pytest.raises(BadOutput, match="seed 7"):
        check_latents(spread, 7)


def test_a_clip_shorter_than_one_window_passes() -> None:
    gate = OutputGate()
    gate.add(tone(0.5, 0.01))
    assert gate.finish()[0] == pytest.approx(db(0.5), abs=0.1)
