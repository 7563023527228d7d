"""What one running job reports, in order. Knows no bytes.

Progress at any time; then per variation its AudioChunks in time order and one TakeMade; at the very end one Finished.
Variations follow one another; drafts of those that are computed together come before the first final chunk of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_daw.take import TakeMade


@dataclass(frozen=True)
class Progress:
    """``step`` of ``num_steps`` of a stage is done. Stages: loading, conditioning, windows, sampling.

    ``windows`` is reported only of clips longer than the model: once before sampling, then after each window.
    """

    stage: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive audio [2, n] float32 at the job's rate; ``start_sample`` counts from the clip's first sample.

    A ``draft`` chunk belongs to a rough version of the same variation, which the final chunks replace.
    """

    start_sample: int
    samples: NDArray[np.float32]
    variation: int = 0
    draft: bool = False


@dataclass(frozen=True)
class Finished:
    """The job is complete: its clip's length, the first variation's levels in dBFS, the seconds each stage took."""

    num_samples: int
    peak_db: float
    rms_db: float
    timings_seconds: dict[str, float]


Event = Progress | AudioChunk | TakeMade | Finished

__all__ = ["AudioChunk", "Event", "Finished", "Progress", "TakeMade"]
