"""Measured beats: clicks of known tempo and offset, at any rate, through tempo maps; honest where there are none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from sa3_daw.job import TempoPoint
from sa3_daw.music.beats import OnsetEnvelope, beat_match, mean_bpm, measure_beats
from sa3_daw.music.timeline import TempoMap
from sa3_daw.take import BeatReport


def clicks(times: list[float], seconds: float, rate: int = 44100) -> np.ndarray:
    random = np.random.default_rng(0)
    mono = np.zeros(round(seconds * rate), dtype=np.float32)
    size = round(0.02 * rate)
    for time in times:
        start = round(time * rate)
        if 0 <= start < len(mono) - size:
            mono[start : start + size] += 0.5 * np.exp(-np.arange(size) / (0.004 * rate)) * random.standard_normal(size)
    return np.stack((mono, mono))


def pulse(bpm: float, seconds: float = 8.0, offset: float = 0.0, rate: int = 44100) -> np.ndarray:
    return clicks([offset + beat * 60 / bpm for beat in range(int(seconds * bpm / 60) + 1)], seconds, rate)


def measured(samples: np.ndarray, tempo: TempoMap, rate: int = 44100, start: float = 0.0) -> BeatReport:
    onsets = OnsetEnvelope(rate)
    for piece in np.array_split(samples, 7, axis=1):
        onsets.add(piece)
    report = measure_beats(onsets, tempo, start)
    assert report is not None
    return report


@pytest.mark.parametrize("bpm", [75.0, 97.3, 127.5, 174.0])
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_a_click_track_reads_its_tempo_and_lies_on_its_grid(bpm: float, rate: int) -> None:
    report = measured(pulse(bpm, rate=rate), TempoMap.constant(bpm), rate)
    assert report.bpm == pytest.approx(bpm, rel=2e-4)
    assert abs(report.phase_error_seconds) < 0.002 and report.confidence > 0.9


@pytest.mark.parametrize("offset", [-0.02, 0.01, 0.03])
def test_late_is_positive_and_early_negative(offset: float) -> None:
    report = measured(pulse(120, offset=offset), TempoMap.constant(120))
    assert report.phase_error_seconds == pytest.approx(offset, abs=0.002)


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
def test_half_and_double_tempo_pulses_are_the_asked_tempo(factor: float) -> None:
    report = measured(pulse(110 * factor, seconds=16), TempoMap.constant(110))
    assert report.bpm == pytest.approx(110, rel=1e-3) and report.confidence > 0.1


@pytest.mark.parametrize(("asked", "played"), [(120.0, 97.0), (100.0, 137.0), (120.0, 121.5)])
def test_another_tempo_is_reported_as_it_is(asked: float, played: float) -> None:
    assert measured(pulse(played), TempoMap.constant(asked)).bpm == pytest.approx(played, rel=1e-3)


def test_a_tempo_map_bends_the_measure_with_it() -> None:
    tempo = TempoMap((TempoPoint(0.0, 100.0), TempoPoint(8.0, 140.0)))
    times = [float(tempo.seconds_at(Fraction(quarter))) for quarter in range(20)]
    report = measured(clicks(times, 9.0), tempo)
    assert report.bpm == pytest.approx(mean_bpm(tempo, 0.0, 9.0), rel=2e-3)
    assert abs(report.phase_error_seconds) < 0.003 and report.confidence > 0.9


def test_a_clip_in_the_middle_of_the_timeline_is_measured_against_its_own_place() -> None:
    start = 3.1
    times = [beat * 0.5 - start for beat in range(7, 24)]
    report = measured(clicks(times, 8.0), TempoMap.constant(120), start=start)
    assert abs(report.phase_error_seconds) < 0.002


def test_noise_tones_and_random_hits_earn_no_confidence() -> None:
    random = np.random.default_rng(1)
    noise = 0.1 * random.standard_normal(352_800).astype(np.float32)
    tone = np.sin(2 * np.pi * 220 * np.arange(352_800) / 44100).astype(np.float32)
    hits = clicks(list(random.uniform(0, 7.9, 30)), 8.0)
    for samples in (np.stack((noise, noise)), np.stack((tone, tone)), hits):
        assert measured(samples, TempoMap.constant(120)).confidence < 0.3


def test_too_short_or_silent_clips_have_no_report() -> None:
    for samples in (pulse(120, seconds=0.5), np.zeros((2, 88_200), dtype=np.float32)):
        onsets = OnsetEnvelope(44100)
        onsets.add(samples)
        assert measure_beats(onsets, TempoMap.constant(120), 0.0) is None


def test_the_roll_on_the_grid_matches_best() -> None:
    on, late, off = BeatReport(120.0, 0.001, 0.8), BeatReport(120.0, 0.06, 0.8), BeatReport(131.0, 0.0, 0.8)
    scores = [beat_match(report, 120.0) for report in (on, late, off, None)]
    assert scores[0] == max(scores) and scores[3] == min(scores)
