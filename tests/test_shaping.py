"""Log gains on an audio carrier: zero is nothing, silence stays, one band is one band, and the ends are whole."""

from __future__ import annotations

import math

import torch

from sa3_daw.models.shaping import LEAST_LOG_GAIN, MOST_LOG_GAIN, shape

PATCH = 256
BANDS = torch.arange(PATCH)


def noise(num_patches: int) -> torch.Tensor:
    return torch.randn(2, 2, num_patches * PATCH, generator=torch.Generator().manual_seed(0))


def gains(value: float, num_patches: int) -> torch.Tensor:
    return torch.full((2, 2 * PATCH, num_patches), value)


def test_no_gain_returns_the_carrier_to_its_very_ends() -> None:
    for num_patches in (1, 2, 9):
        carrier = noise(num_patches)
        torch.testing.assert_close(shape(carrier, gains(0.0, num_patches), PATCH), carrier, rtol=0, atol=2e-6)


def test_equal_gains_scale_and_are_bounded() -> None:
    carrier = noise(6)
    for asked, factor in ((1.0, math.e), (50.0, math.exp(MOST_LOG_GAIN)), (-50.0, math.exp(LEAST_LOG_GAIN))):
        torch.testing.assert_close(shape(carrier, gains(asked, 6), PATCH), factor * carrier, rtol=1e-4, atol=1e-5)


def test_silence_stays_silent_and_a_channel_stays_its_own() -> None:
    carrier = noise(6)
    carrier[:, 0] = 0
    shaped = shape(carrier, torch.randn(2, 2 * PATCH, 6), PATCH)
    assert shaped[:, 0].abs().max() == 0 and shaped[:, 1].abs().max() > 0


def test_a_gain_changes_its_band_and_its_patch() -> None:
    num_patches, low, high = 40, 20, 120
    times = torch.arange(num_patches * PATCH)
    tones = [torch.sin(math.pi * band / PATCH * times).expand(1, 2, -1) for band in (low, high)]
    asked = torch.zeros(1, 2, PATCH, num_patches)
    asked[:, :, (low - 30 <= BANDS) & (low + 30 >= BANDS), 20:] = math.log(0.5)
    shaped = [shape(tone, asked.flatten(1, 2), PATCH) for tone in tones]
    early, late = slice(3 * PATCH, 19 * PATCH), slice(22 * PATCH, 37 * PATCH)
    for tone, result, factor in zip(tones, shaped, (0.5, 1.0), strict=True):
        torch.testing.assert_close(result[..., early], tone[..., early], rtol=0, atol=1e-3)
        torch.testing.assert_close(result[..., late], factor * tone[..., late], rtol=0, atol=1e-2)
