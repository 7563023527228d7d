"""Loudness and true peak of stereo audio, measured in a stream. Knows no take and no target.

Integrated loudness after ITU-R BS.1770-4: K-weighting, blocks of 400 ms every 100 ms, an absolute gate at -70 LUFS and
a relative one 10 LU below. The two K filters are evaluated as one frequency response, so any rate is exact.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray

STEP_SECONDS = 0.1
STEPS_PER_BLOCK = 4
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_LUFS = -0.691

SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)
HIGH_PASS = (38.13547087602444, 0.5003270373238773)
"""Centre in Hz, gain in dB and Q of the analogue prototypes behind the standard's 48 kHz coefficients."""

HIGH_PASS_GAIN = 1.004994986
"""The standard leaves the high-pass's numerator 1, -2, 1 unscaled; this is its gain then, at 48 kHz."""

RESPONSE_SECONDS = 0.25
"""The high-pass is 200 dB down after this."""

SEGMENT_STEPS = 20
OVERSAMPLING = 4


class LoudnessMeter:
    """Fed with consecutive audio; ``integrated`` judges the whole."""

    def __init__(self, sample_rate: int) -> None:
        self._step = round(STEP_SECONDS * sample_rate)
        self._reach = round(RESPONSE_SECONDS * sample_rate)
        self._segment = SEGMENT_STEPS * self._step
        size = 1 << (self._segment + self._reach - 1).bit_length()
        self._response = k_weighting(np.fft.rfftfreq(size, 1 / sample_rate), sample_rate)
        self._size = size
        self._waiting = np.zeros((2, self._reach), dtype=np.float32)  # the last samples before, then the new ones
        self._steps: list[float] = []

    def add(self, samples_CS: NDArray[np.float32]) -> None:
        """Measure the next samples [2, n]."""
        self._waiting = np.concatenate((self._waiting, samples_CS), axis=1)
        while self._waiting.shape[1] >= self._reach + self._segment:
            self._measure(self._waiting[:, : self._reach + self._segment])
            self._waiting = self._waiting[:, self._segment :]

    def integrated(self) -> float | None:
        """Return LUFS; None when there is less than one block above the absolute gate. The meter is spent."""
        self._measure(self._waiting)
        steps = np.array(self._steps)
        if len(steps) < STEPS_PER_BLOCK:
            return None
        blocks = np.convolve(steps, np.ones(STEPS_PER_BLOCK), "valid") / (STEPS_PER_BLOCK * self._step)
        blocks = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
        if not len(blocks):
            return None
        blocks = blocks[blocks > blocks.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
        return _lufs(float(blocks.mean()))

    def _measure(self, heard_CS: NDArray[np.float32]) -> None:
        """Filter by overlap-save and add the energy of each whole step, both channels together."""
        spectrum = np.fft.rfft(heard_CS.astype(np.float64), self._size) * self._response
        filtered = np.fft.irfft(spectrum, self._size)[:, self._reach : heard_CS.shape[1]]
        count = filtered.shape[1] // self._step
        energy = np.square(filtered[:, : count * self._step]).reshape(2, count, self._step).sum(axis=(0, 2))
        self._steps += energy.tolist()


def loudness_lufs(samples_CS: NDArray[np.float32], sample_rate: int) -> float | None:
    """Return the integrated loudness of a whole clip."""
    meter = LoudnessMeter(sample_rate)
    meter.add(samples_CS)
    return meter.integrated()


def true_peak_db(samples_CS: NDArray[np.float32], sample_rate: int) -> float:
    """Return the peak of the clip oversampled four times, in dBTP; -200 for silence."""
    peak = float(np.abs(samples_CS).max(initial=0.0))
    size = 8 * sample_rate
    for start in range(0, samples_CS.shape[1], size):
        piece = np.ascontiguousarray(samples_CS[:, max(0, start - 256) : start + size + 256].T)
        peak = max(peak, float(np.abs(soxr.resample(piece, sample_rate, OVERSAMPLING * sample_rate)).max(initial=0.0)))
    return 20 * math.log10(max(peak, 1e-10))


def k_weighting(hertz: NDArray[np.floating], sample_rate: int) -> NDArray[np.complex128]:
    """Return the complex response of both stages, made digital by the bilinear transform with its warping."""
    centre, gain_db, quality = SHELF
    s = 1j * np.tan(np.pi * np.minimum(hertz, 0.49999 * sample_rate) / sample_rate)
    w = math.tan(math.pi * centre / sample_rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    shelf = (high * s**2 + band * w / quality * s + w**2) / (s**2 + w / quality * s + w**2)
    centre, quality = HIGH_PASS
    w = math.tan(math.pi * centre / sample_rate)
    low_cut = s**2 / (s**2 + w / quality * s + w**2)
    weighted: NDArray[np.complex128] = shelf * low_cut * HIGH_PASS_GAIN
    return weighted


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))


def _lufs(power: float) -> float:
    return OFFSET_LUFS + 10 * math.log10(power)
