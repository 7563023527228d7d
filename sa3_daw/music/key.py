"""The key of a clip, estimated: a chroma against Krumhansl and Kessler's 24 profiles. Knows no model and no job."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sa3_daw.take import KeyReport

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch class fits the key, from the tonic up; Krumhansl and Kessler 1982."""

WINDOW_SECONDS = 0.37
HERTZ = (65.0, 2000.0)
TUNING_HERTZ = 440.0
PEAK_SHARE = 0.02
"""Spectral peaks below this share of a window's strongest are left out: noise has many, notes few."""

CLEAR_TONALITY = 0.5
CLEAR_LEAD = 0.1


class Chroma:
    """Fed with consecutive audio; gathers how strong each pitch class is."""

    def __init__(self, sample_rate: int) -> None:
        self._window = 1 << round(np.log2(WINDOW_SECONDS * sample_rate))
        self._hop = self._window // 2
        self._shape = np.hanning(self._window).astype(np.float32)
        self._hertz_per_bin = sample_rate / self._window
        self._bins = slice(int(HERTZ[0] / self._hertz_per_bin), int(HERTZ[1] / self._hertz_per_bin))
        self._waiting = np.zeros(0, dtype=np.float32)
        self.classes = np.zeros(12)
        self.tonal = self.total = 0.0

    def add(self, samples_CS: NDArray[np.float32]) -> None:
        """Take the next samples [C, n]."""
        self._waiting = np.concatenate((self._waiting, samples_CS.mean(axis=0)))
        while len(self._waiting) >= self._window:
            self._hear(np.abs(np.fft.rfft(self._waiting[: self._window] * self._shape)))
            self._waiting = self._waiting[self._hop :]

    def _hear(self, magnitude: NDArray[np.float64]) -> None:
        band = magnitude[self._bins]
        centre, left, right = band[1:-1], band[:-2], band[2:]
        peak = (centre > left) & (centre >= right) & (centre > PEAK_SHARE * band.max(initial=0.0)) & (left + right > 0)
        where = np.flatnonzero(peak)
        self.total += float(np.square(band).sum())
        if not len(where):
            return
        a, b, c = (np.log(part[where] + 1e-12) for part in (left, centre, right))
        offset = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-6)
        hertz = (self._bins.start + 1 + where + np.clip(offset, -0.5, 0.5)) * self._hertz_per_bin
        pitch = 69 + 12 * np.log2(hertz / TUNING_HERTZ)
        nearest = np.round(pitch).astype(int)
        in_tune = np.maximum(0, 1 - np.abs(pitch - nearest) / 0.5)
        np.add.at(self.classes, nearest % 12, in_tune * np.sqrt(centre[where]))
        # A Hann window spreads a steady tone over three bins; what lies beside the peaks is no tone.
        self.tonal += float((np.square(centre[where]) + np.square(left[where]) + np.square(right[where])).sum())

    def key(self) -> KeyReport | None:
        """Return the best key; None for silence and for clips shorter than a window."""
        if not self.classes.any():
            return None
        fits = {}
        for mode, profile in (("major", MAJOR), ("minor", MINOR)):
            for tonic in range(12):
                fits[f"{NAMES[tonic]} {mode}"] = float(np.corrcoef(self.classes, np.roll(profile, tonic))[0, 1])
        (best, first), (_, second) = sorted(fits.items(), key=lambda entry: -entry[1])[:2]
        tonality = min(1.0, self.tonal / max(self.total, 1e-12) / CLEAR_TONALITY)
        lead = min(1.0, (first - second) / CLEAR_LEAD)
        return KeyReport(best, round(max(0.0, first) * tonality * (0.5 + 0.5 * lead), 3))
