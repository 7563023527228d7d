"""Where beats and bars fall in every latent frame, as conditioning channels. Knows no model and no tensor.

Training and inference share this one definition, so it is part of nano's format: change it, retrain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sa3_daw.music.timeline import TempoMap

BEAT_MULTIPLES = (1, 2, 4)
"""Phases of the beat, its half and its quarter; the fast ones place an onset inside a frame."""

SLOWEST_BPM = 15.0
"""Slower tempos are told as this one: none was ever heard in training, and far below it a model falls apart."""

BEAT_GRID_DIM = 2 * len(BEAT_MULTIPLES) + 4


def beat_grid(tempo: TempoMap, start_seconds: float, num_frames: int, frame_seconds: float) -> NDArray[np.float32]:
    """Return [BEAT_GRID_DIM, num_frames] for frames starting at ``start_seconds`` + i * ``frame_seconds``."""
    return beats_at(tempo, [start_seconds + index * frame_seconds for index in range(num_frames)])


def beats_at(tempo: TempoMap, times_seconds: Sequence[float]) -> NDArray[np.float32]:
    """Return [BEAT_GRID_DIM, T] for frames that start at the given times.

    Channels: cos and sin of the beat phase times 1, 2, 4; cos and sin of the bar phase; log2(bpm / 120), at least
    that of SLOWEST_BPM; beats in the bar over 4, minus 1. Times before the origin continue the first tempo backwards.
    """
    phases = tempo.beat_phase(times_seconds)
    beat = np.array([phase.beat for phase in phases])
    bar = np.array([phase.bar for phase in phases])
    angles = [2 * math.pi * multiple * beat for multiple in BEAT_MULTIPLES] + [2 * math.pi * bar]
    tempo_row = np.array([math.log2(max(phase.bpm, SLOWEST_BPM) / 120) for phase in phases])
    metre_row = np.array([phase.numerator / 4 - 1 for phase in phases])
    rows = [wave(angle) for angle in angles for wave in (np.cos, np.sin)]
    return np.stack([*rows, tempo_row, metre_row]).astype(np.float32)
