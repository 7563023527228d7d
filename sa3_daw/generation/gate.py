"""The output gate: measures a result while it streams and refuses what is not audio. Knows no model and no job.

Broken weights, precision faults and wrong configs show up as NaN, silence or white noise; none of these
may reach a timeline without an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sa3_daw.errors import BadOutput

SILENCE_PEAK_DB = -80.0
"""A whole clip below this peak is silent."""

NOISE_FLATNESS = 0.9
"""Spectral flatness (geometric over arithmetic mean) of a clip's mean power spectrum, 0 to 20 kHz. White noise
measures 0.95 (half a second) to 1.00; nano's hi-hats, its noisiest sound, 0.06."""

LATENT_SPREAD = (0.05, 20.0)
"""Allowed standard deviation of sampled latents, which models keep near 1."""

HIGHEST_HERTZ = 20_000.0
WINDOW = 2048


def db(amplitude: float) -> float:
    """Amplitude to decibels; silence is -200 dB rather than minus infinity, which JSON cannot hold."""
    return 20 * math.log10(max(amplitude, 1e-10))


def check_latents(spread: float, seed: int, *, may_be_quiet: bool = False) -> None:
    """Raise BadOutput unless ``spread``, the latents' standard deviation, is finite and plausible.

    Beside a quiet source the result ``may_be_quiet`` too.
    """
    low, high = LATENT_SPREAD
    low = 0.0 if may_be_quiet else low
    if not low <= spread <= high:
        raise BadOutput(
            f"the sampled latents have a standard deviation of {spread:.3g} (seed {seed}); "
            f"a working model gives {low} to {high}",
            value=f"{spread:.3g}",
        )


class OutputGate:
    """Fed with made audio as it is decoded, at its delivered rate; ``finish`` judges the take."""

    def __init__(self, sample_rate: int) -> None:
        self._peak = 0.0
        self._power = np.zeros(WINDOW // 2 + 1)
        self._top_bin = int(len(self._power) * min(1.0, HIGHEST_HERTZ / (sample_rate / 2)))

    def add(self, samples: NDArray[np.float32]) -> None:
        """Measure one chunk [2, n]. Raises BadOutput at once on a value that is not finite."""
        peak = float(np.abs(samples).max(initial=0.0))
        if not math.isfinite(peak):
            raise BadOutput("the decoded audio holds NaN or infinity")
        self._peak = max(self._peak, peak)
        mid = samples.mean(axis=0)
        windows = mid[: len(mid) // WINDOW * WINDOW].reshape(-1, WINDOW) * np.hanning(WINDOW)
        self._power += np.square(np.abs(np.fft.rfft(windows))).sum(axis=0)

    def finish(self, take_peak_db: float, is_meant: Callable[[], bool]) -> None:
        """Raise BadOutput when the take is silent, or white noise that is not meant (asked only then).

        The take's own peak counts what is kept; what was made counts before its edges are faded.
        """
        peak_db = max(take_peak_db, db(self._peak))
        if peak_db < SILENCE_PEAK_DB:
            raise BadOutput(f"the result is silent (peak {peak_db:.0f} dBFS)", value=f"{peak_db:.0f}")
        flatness = self.flatness()
        if flatness > NOISE_FLATNESS and not is_meant():
            raise BadOutput(f"the result is noise (spectral flatness {flatness:.2f})", value=f"{flatness:.2f}")

    def flatness(self) -> float:
        """Spectral flatness of everything added; 0 when the clip is shorter than one window."""
        power = self._power[1 : self._top_bin]
        if not power.any():
            return 0.0
        return float(np.exp(np.log(power + 1e-20 * power.max()).mean()) / power.mean())
