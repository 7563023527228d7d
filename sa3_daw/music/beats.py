"""Beats of a clip as measured: onsets, tempo, offset from the asked grid, confidence. Knows no model and no job.

An onset envelope is taken in a stream; its strength at the pulses of a tempo is read from its Fourier sum over
musical time, so a tempo map bends the measure with it. The asked tempo settles which of two related tempi (half,
double) is meant; a tempo that is not related to it is reported as it is.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sa3_daw.music.timeline import TempoMap
from sa3_daw.take import BeatReport

HOP_SECONDS = 0.004
WINDOW_SECONDS = 0.016
LEVEL_FLOOR = 1e-3
"""Magnitudes are compressed as log(magnitude + floor), so that quiet hats count beside loud kicks."""

BANDS = 24
LAG_SECONDS = 0.0027
"""The flux of a click peaks this long before its onset stands in the middle of the window; measured on clicks."""

PULSES = (1.0, 2.0, 4.0)
"""Quarters, eighths and sixteenths: where onsets gather in a bar."""

PULSE_WEIGHTS = (0.4, 0.4, 0.2)
NEAR = 0.06
"""Tempi within this share of the asked one are variants of it."""

FREE_BPM = (50.0, 220.0)
RELATED = (0.25, 1 / 3, 0.5, 2 / 3, 1.5, 2.0, 3.0, 4.0)
CLEARLY_BETTER = 1.25
SHORTEST_QUARTERS = 2.0
MAX_FREE_SECONDS = 60.0


class OnsetEnvelope:
    """Fed with consecutive audio; ``values`` is the rise of its spectrum, one number every ``HOP_SECONDS``."""

    def __init__(self, sample_rate: int) -> None:
        self._hop = round(HOP_SECONDS * sample_rate)
        self._window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        self._shape = np.hanning(self._window).astype(np.float32) * (2 / self._window)
        self._waiting = np.zeros(self._window // 2, dtype=np.float32)
        edges = np.geomspace(60, min(16_000, 0.45 * sample_rate), BANDS + 1) * self._window / sample_rate
        self._edges = np.unique(np.maximum(1, np.round(edges).astype(int)))
        self._before: NDArray[np.float32] | None = None
        self._rises: list[NDArray[np.float32]] = []
        self.hop_seconds = self._hop / sample_rate

    def add(self, samples_CS: NDArray[np.float32]) -> None:
        """Take the next samples [C, n]."""
        self._waiting = np.concatenate((self._waiting, samples_CS.mean(axis=0)))
        count = (len(self._waiting) - self._window) // self._hop + 1
        if count < 1:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self._waiting, self._window)[: count * self._hop : self._hop]
        power = np.square(np.abs(np.fft.rfft(frames * self._shape)))
        bands = np.sqrt(np.add.reduceat(power, self._edges, axis=1)[:, :-1])
        level = np.log(bands + LEVEL_FLOOR).astype(np.float32)
        before = level[:1] if self._before is None else self._before
        rise = np.diff(np.concatenate((before, level)), axis=0)
        self._rises.append(np.maximum(rise, 0).sum(axis=1))
        self._before = level[-1:]
        self._waiting = self._waiting[count * self._hop :]

    def values(self) -> NDArray[np.float64]:
        """Return the envelope so far; entry i belongs to ``i * hop_seconds`` after the first sample."""
        return np.concatenate(self._rises).astype(np.float64) if self._rises else np.zeros(0)


def measure_beats(onsets: OnsetEnvelope, tempo: TempoMap, start_seconds: float) -> BeatReport | None:
    """Return tempo, phase error and confidence of a clip that starts ``start_seconds`` on the timeline.

    The tempo is the clip's mean one. The phase error is the mean offset of onsets from the nearest eighth of the
    asked grid, positive when late. None when the clip is too short or has no onset.
    """
    envelope = onsets.values()
    seconds = np.arange(len(envelope)) * onsets.hop_seconds + LAG_SECONDS
    quarters = _quarters(tempo, start_seconds + seconds)
    if len(envelope) < 2 or quarters[-1] - quarters[0] < SHORTEST_QUARTERS:
        return None
    peaks = np.maximum(envelope - 1.5 * _running_mean(envelope, round(0.25 / onsets.hop_seconds)), 0)
    if not peaks.any():
        return None
    asked_bpm = 60 * float(quarters[-1] - quarters[0]) / float(seconds[-1] - seconds[0])
    near, strength = _best_ratio(peaks, quarters, np.linspace(1 - NEAR, 1 + NEAR, 241))
    bpm = asked_bpm * near
    free = _free_tempo(peaks, quarters, asked_bpm)
    if free is not None and free[1] > CLEARLY_BETTER * strength:
        bpm, strength = free
    floor = _chance(peaks)
    confidence = min(1.0, max(0.0, (strength - floor) / max(1e-6, 0.8 - floor)))
    return BeatReport(round(bpm, 3), _phase_seconds(peaks, quarters, 60 / asked_bpm), round(confidence, 3))


def beat_match(report: BeatReport | None, asked_bpm: float) -> float:
    """Return how well a clip lies on its grid, higher is better: confidence less what tempo and phase cost."""
    if report is None:
        return -1.0
    return report.confidence - 10 * abs(report.bpm / asked_bpm - 1) - 4 * abs(report.phase_error_seconds)


def mean_bpm(tempo: TempoMap, start_seconds: float, end_seconds: float) -> float:
    """Return the asked quarter notes a minute between two times."""
    first, last = _quarters(tempo, np.array([start_seconds, end_seconds]))
    return float(60 * (last - first) / (end_seconds - start_seconds))


def _quarters(tempo: TempoMap, seconds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the position of each time in quarter notes, in float precision."""
    starts = [float(tempo.seconds_at(Fraction(point.position_ppq))) for point in tempo.points]
    index = np.maximum(np.searchsorted(starts, seconds, side="right") - 1, 0)
    bpm = np.array([point.bpm for point in tempo.points])[index]
    ppq = np.array([point.position_ppq for point in tempo.points])[index]
    result: NDArray[np.float64] = ppq + (seconds - np.array(starts)[index]) * bpm / 60
    return result


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    width = max(1, min(width, len(values)))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    mean: NDArray[np.float64] = np.convolve(padded, np.ones(width) / width, "valid")
    return mean


def _strengths(
    peaks: NDArray[np.float64], quarters: NDArray[np.float64], ratios: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return for each pulse rate how far onsets gather on it and its fast pulses, 0 to 1."""
    keep = peaks > 0
    weights, at = peaks[keep] / peaks.sum(), quarters[keep] - quarters[0]
    total = np.zeros(len(ratios))
    for pulse, weight in zip(PULSES, PULSE_WEIGHTS, strict=True):
        phases = np.exp(-2j * math.pi * pulse * np.outer(ratios, at))
        total += weight * np.abs(phases @ weights)
    return total


def _best_ratio(
    peaks: NDArray[np.float64], quarters: NDArray[np.float64], ratios: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the strongest pulse rate among ``ratios`` of the asked one, refined between them, and its strength."""
    strengths = _strengths(peaks, quarters, ratios)
    best = int(np.argmax(strengths))
    step = ratios[1] - ratios[0]
    fine = ratios[best] + np.linspace(-step, step, 81)
    finer = _strengths(peaks, quarters, fine)
    found = int(np.argmax(finer))
    return float(fine[found]), float(finer[found])


def _free_tempo(
    peaks: NDArray[np.float64], quarters: NDArray[np.float64], asked_bpm: float
) -> tuple[float, float] | None:
    """Return the strongest tempo that has nothing to do with the asked one; None when all are related to it."""
    within = quarters - quarters[0] <= MAX_FREE_SECONDS * asked_bpm / 60
    peaks, quarters = peaks[within], quarters[within]
    resolution = 0.25 / (4 * float(quarters[-1] - quarters[0]))
    ratios = np.arange(FREE_BPM[0] / asked_bpm, FREE_BPM[1] / asked_bpm, resolution)
    related = np.array((1.0, *RELATED))
    apart = np.abs(ratios[:, None] / related - 1).min(axis=1) > NEAR
    ratios = ratios[apart]
    if not len(ratios):
        return None
    ratio, strength = _best_ratio(peaks, quarters, ratios)
    return asked_bpm * ratio, strength


def _chance(peaks: NDArray[np.float64]) -> float:
    """Return the strength that as many onsets would have at random times."""
    effective = float(peaks.sum() ** 2 / np.square(peaks).sum()) / 3
    return min(0.9, 0.9 / math.sqrt(max(1.0, effective)))


def _phase_seconds(peaks: NDArray[np.float64], quarters: NDArray[np.float64], quarter_seconds: float) -> float:
    """Return the offset within half an eighth at which the asked eighths and sixteenths meet most onsets."""
    offsets = np.linspace(-0.25, 0.25, 401)
    match = np.zeros(len(offsets))
    for pulse, weight in ((2.0, 0.6), (4.0, 0.4)):
        total = (peaks * np.exp(-2j * math.pi * pulse * quarters)).sum()
        match += weight * (total * np.exp(2j * math.pi * pulse * offsets)).real
    return round(float(offsets[int(np.argmax(match))]) * quarter_seconds, 5)
