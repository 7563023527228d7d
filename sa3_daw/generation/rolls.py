"""Which seeds a job rolls, which of them share a batch, and which roll of a variation is delivered. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_daw.job import Job
from sa3_daw.music.beats import OnsetEnvelope, beat_match, mean_bpm, measure_beats
from sa3_daw.music.timeline import TempoMap

BATCH_FRAMES = 1024
"""Frames sampled at once. Measured with nano on one core: eight takes of 108 frames as a batch cost 0.70 of eight
alone, four of 217 0.85, and beyond this size nothing is gained; the limit also bounds memory."""


@dataclass(frozen=True)
class Roll:
    """One attempt at one variation."""

    variation: int
    attempt: int
    seed: int


def rolls_of(job: Job) -> list[Roll]:
    """Return every roll, those of one variation together; the first ones have the seeds of a job without best_of."""
    return [
        Roll(variation, attempt, job.seed + variation + attempt * job.num_variations)
        for variation in range(job.num_variations)
        for attempt in range(job.best_of)
    ]


def batches(job: Job, num_frames: int, num_windows: int) -> list[list[Roll]]:
    """Return the rolls in groups to sample at once; a clip of several windows is made, and heard, alone."""
    size = max(1, BATCH_FRAMES // num_frames) if num_windows == 1 else 1
    rolls = rolls_of(job)
    return [rolls[start : start + size] for start in range(0, len(rolls), size)]


def beat_score(job: Job, audio: Iterable[NDArray[np.float32]]) -> float:
    """Return how well a take's beats lie on the job's grid; the highest of a variation's rolls is delivered."""
    onsets = OnsetEnvelope(job.sample_rate)
    for samples in audio:
        onsets.add(samples)
    tempo, start = TempoMap(job.tempo_map), job.start_sample / job.sample_rate
    return beat_match(
        measure_beats(onsets, tempo, start), mean_bpm(tempo, start, start + job.num_samples / job.sample_rate)
    )
