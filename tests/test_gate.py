"""The output gate: broken results are refused by what they sound like, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.errors import BadOutput
from sa3_daw.generation.gate import OutputGate, check_latents
from sa3_daw.generation.meant_noise import agreement, chance, is_meant, likeness
from tests.tiny import SAME_FORMS, seeded_same

RATE = 44100


def tone(amplitude: float, seconds: float = 1.0) -> NDArray[np.float32]:
    wave = amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    return np.stack((wave, wave)).astype(np.float32)


def judged(*pieces: NDArray[np.float32], take_peak_db: float = -200.0, meant: bool = False) -> None:
    gate = OutputGate(RATE)
    for piece in pieces:
        gate.add(piece)
    gate.finish(take_peak_db, lambda: meant)


def test_silence_is_refused_unless_something_kept_can_be_heard() -> None:
    with pytest.raises(BadOutput, match="silent"):
        judged(tone(1e-5))
    judged(tone(1e-5), take_peak_db=-12.0)


def test_white_noise_is_refused_and_a_noisy_tone_is_not() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32) * 0.1
    with pytest.raises(BadOutput, match="noise"):
        judged(*np.array_split(noise, 5, axis=1))
    judged(tone(0.3) + 0.3 * noise)


def test_noise_that_is_meant_passes() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32) * 0.1
    judged(noise, meant=True)


def test_latents_of_a_failed_sampler_or_decoder_are_not_meant() -> None:
    same = seeded_same(SAME_FORMS["nano"])
    generator = torch.Generator().manual_seed(0)
    failed_sampler = torch.randn(12, 40, generator=generator)
    steady = failed_sampler + 2.0
    assert likeness(failed_sampler) < chance(failed_sampler) < likeness(steady)
    assert not is_meant(same, failed_sampler)
    # These random weights decode to nothing that encodes back: a failed decoder, whatever the latents.
    assert agreement(same, steady) < 0.3 and not is_meant(same, steady)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_at_once(value: float) -> None:
    broken = tone(0.5)
    broken[1, 1000] = value
    with pytest.raises(BadOutput, match="NaN or infinity"):
        OutputGate(RATE).add(broken)


@pytest.mark.parametrize("spread", [0.0, 1e9, float("nan"), float("inf")])
def test_implausible_latents_name_the_seed(spread: float) -> None:
    with pytest.raises(BadOutput, match="seed 7"):
        check_latents(spread, 7)


def test_a_clip_shorter_than_one_window_passes() -> None:
    judged(tone(0.5, 0.01))
