"""Everything measured of a take while it is delivered: levels, loudness, beats, key, seams. Knows no model.

Each piece is measured after it has been handed on, so audio never waits for a measure; what is kept between pieces
is small, whatever the take's length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.loudness import LoudnessMeter
from sa3_daw.generation.gate import db
from sa3_daw.music.beats import OnsetEnvelope, measure_beats
from sa3_daw.music.key import Chroma
from sa3_daw.music.timeline import TempoMap
from sa3_daw.take import BeatReport, KeyReport

SEAM_SECONDS = 0.05
"""Levels are compared over this long on both sides of a seam."""

SEAM_FLOOR = 1e-3
"""Root mean square below which a side counts as this quiet, -60 dBFS; silence has no level to jump from."""


class TakeMeter:
    """Fed with a take's consecutive samples at its own rate."""

    def __init__(self, sample_rate: int, num_samples: int, seams: Sequence[int]) -> None:
        """``seams`` are the samples before which the take was joined; 0 is where a loop comes round."""
        self._num_samples = num_samples
        self._position = 0
        self._energy = 0.0
        self._peak = 0.0
        self._loudness = LoudnessMeter(sample_rate)
        self._onsets = OnsetEnvelope(sample_rate)
        self._chroma = Chroma(sample_rate)
        width = max(1, min(round(SEAM_SECONDS * sample_rate), num_samples // 2))
        self._sides = [((seam - width) % num_samples, seam % num_samples) for seam in seams]
        self._width = width
        self._levels = np.zeros((len(self._sides), 2))

    def add(self, samples_CS: NDArray[np.float32]) -> None:
        """Measure the next samples [2, n]."""
        self._peak = max(self._peak, float(np.abs(samples_CS).max(initial=0.0)))
        self._energy += float(np.square(samples_CS, dtype=np.float64).sum())
        self._loudness.add(samples_CS)
        self._onsets.add(samples_CS)
        self._chroma.add(samples_CS)
        for row, sides in enumerate(self._sides):
            for side, start in enumerate(sides):
                part = samples_CS[:, max(0, start - self._position) : max(0, start + self._width - self._position)]
                self._levels[row, side] += float(np.square(part, dtype=np.float64).sum())
        self._position += samples_CS.shape[1]

    @property
    def peak_db(self) -> float:
        return db(self._peak)

    @property
    def rms_db(self) -> float:
        return db(math.sqrt(self._energy / max(1, 2 * self._position)))

    def seam_db(self) -> float | None:
        """Return the largest level jump across a seam; None without one."""
        if not self._sides:
            return None
        levels = np.maximum(np.sqrt(self._levels / (2 * self._width)), SEAM_FLOOR)
        return round(float(np.abs(20 * np.log10(levels[:, 1] / levels[:, 0])).max()), 2)

    def loudness_lufs(self) -> float | None:
        """Return the integrated loudness; call it once, at the end."""
        found = self._loudness.integrated()
        return None if found is None else round(found, 2)

    def beats(self, tempo: TempoMap, start_seconds: float) -> BeatReport | None:
        return measure_beats(self._onsets, tempo, start_seconds)

    def key(self) -> KeyReport | None:
        return self._chroma.key()
