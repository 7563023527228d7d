"""What is done to a whole take when the job asks for it: a small stretch onto the beat, a loudness. Knows no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.loudness import loudness_lufs, true_peak_db
from sa3_daw.audio.ops import fade_edges
from sa3_daw.audio.stretch import stretch
from sa3_daw.generation.edit_plan import MAX_STRETCH
from sa3_daw.job import Job
from sa3_daw.music.beats import OnsetEnvelope, mean_bpm, measure_beats
from sa3_daw.music.timeline import TempoMap

CEILING_DBTP = -1.0
"""No gain lifts a take's true peak above this; a take that is already louder is left where its target puts it."""

SURE = 0.5
"""Beats measured with less confidence move nothing."""

LEAST_STRETCH = 1e-3


def to_loudness(audio_CS: NDArray[np.float32], sample_rate: int, target_lufs: float) -> NDArray[np.float32]:
    """Return the take at the target, or as near to it as the ceiling allows; silence stays as it is."""
    measured = loudness_lufs(audio_CS, sample_rate)
    if measured is None:
        return audio_CS
    gain_db = min(target_lufs - measured, CEILING_DBTP - true_peak_db(audio_CS, sample_rate))
    levelled: NDArray[np.float32] = audio_CS * np.float32(10 ** (gain_db / 20))
    return levelled


def onto_grid(audio_CS: NDArray[np.float32], job: Job) -> tuple[NDArray[np.float32], float]:
    """Return the take's first ``num_samples``, stretched onto the asked tempo where its own is near, and the ratio."""
    onsets = OnsetEnvelope(job.sample_rate)
    onsets.add(audio_CS[:, : job.num_samples])
    tempo, start = TempoMap(job.tempo_map), job.start_sample / job.sample_rate
    beats = measure_beats(onsets, tempo, start)
    ratio = 1.0
    if beats is not None and beats.confidence >= SURE:
        ratio = beats.bpm / mean_bpm(tempo, start, start + job.num_samples / job.sample_rate)
        if not LEAST_STRETCH < abs(ratio - 1) <= MAX_STRETCH:
            ratio = 1.0
    cut = stretch(audio_CS, ratio, job.sample_rate)[:, : job.num_samples]
    return fade_edges(cut, 0, job.num_samples, job.sample_rate, fade_in=False), ratio
