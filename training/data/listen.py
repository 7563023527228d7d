"""What a file sounds like: its tempo, where its grid starts, its key. Knows no caption and no model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sa3_daw.music.beats import OnsetEnvelope, measure_beats
from sa3_daw.music.key import Chroma
from sa3_daw.music.timeline import TempoMap
from sa3_daw.take import BeatReport
from sa3_training.data.folder import Sound
from sa3_training.data.latents import Beats

LISTEN_SECONDS = 30.0
TRIED_BPM = tuple(70 * 1.11**step for step in range(10))
"""A measure follows tempi up to 6 % from the asked one; these reach from 66 to 190."""

USUAL_BPM = 110.0
NEARLY = 0.85
CLEAR_BEAT = 0.5
CLEAR_KEY = 0.6
"""Confidences below which nothing is said: a wrong tempo or key in a caption is worse than none."""

ON_THE_GRID_SECONDS = 0.02
"""A grid that starts this near the file's start starts there: loops are cut on the bar."""


@dataclass(frozen=True)
class Heard:
    """What could be told, or None."""

    bpm: float | None
    key: str | None
    beats: Beats | None


def hear(source: Sound, named_bpm: float | None) -> Heard:
    """Listen to the file's first half minute; a tempo in its name is believed, and only its grid is listened for."""
    audio = source.read(0, min(source.num_samples, int(LISTEN_SECONDS * source.sample_rate)))
    onsets, chroma = OnsetEnvelope(source.sample_rate), Chroma(source.sample_rate)
    onsets.add(audio)
    chroma.add(audio)
    key = chroma.key()
    beats = _beats(onsets, named_bpm)
    return Heard(beats.bpm if beats else None, key.key if key and key.confidence >= CLEAR_KEY else None, beats)


def _beats(onsets: OnsetEnvelope, named_bpm: float | None) -> Beats | None:
    if named_bpm:
        return Beats(named_bpm, _start(_measure(onsets, named_bpm)))
    found = [report for bpm in TRIED_BPM if (report := _measure(onsets, bpm)) and report.confidence >= CLEAR_BEAT]
    if not found:
        return None
    # Half and double time fit about as well; the one nearer to the usual is meant.
    clearest = max(report.confidence for report in found)
    meant = [report for report in found if report.confidence >= NEARLY * clearest]
    bpm = _tidy(min(meant, key=lambda report: abs(math.log2(report.bpm / USUAL_BPM))).bpm)
    return Beats(bpm, _start(_measure(onsets, bpm)))


def _measure(onsets: OnsetEnvelope, bpm: float) -> BeatReport | None:
    return measure_beats(onsets, TempoMap.constant(bpm, 4, 4), 0.0)


def _start(report: BeatReport | None) -> float:
    late = report.phase_error_seconds if report and report.confidence >= CLEAR_BEAT else 0.0
    return 0.0 if abs(late) < ON_THE_GRID_SECONDS else late


def _tidy(bpm: float) -> float:
    """Return the whole tempo that a measured one stands for, when it is that near."""
    return float(round(bpm)) if abs(bpm - round(bpm)) < 0.15 else round(bpm, 2)
