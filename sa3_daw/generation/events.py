"""What one running job reports, in order: Progress and AudioChunk many times, then Finished. Knows no bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """``step`` of ``num_steps`` of a stage is done. Stages in order: loading, conditioning, sampling, decoding."""

    stage: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive audio [2, n] float32 at the job's rate; ``start_sample`` counts from the clip's first sample."""

    start_sample: int
    samples: NDArray[np.float32]


@dataclass(frozen=True)
class Finished:
    """The clip is complete: its exact length, its levels in dBFS, and the seconds each stage took."""

    num_samples: int
    peak_db: float
    rms_db: float
    timings_seconds: dict[str, float]


Event = Progress | AudioChunk | Finished
