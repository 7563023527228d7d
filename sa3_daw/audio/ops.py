"""Small operations on audio arrays [channels, samples]. Knows no model, no file and no stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FADE_IN_SECONDS = 0.001
FADE_OUT_SECONDS = 0.005
"""A generated clip rarely starts or ends on a zero crossing, and the next bar's onset may begin to sound in
its last milliseconds; cut hard, both are clicks. Short enough to leave a kick on the first sample its attack."""


def fade_edges(
    chunk_CS: NDArray[np.float32],
    start_sample: int,
    num_samples: int,
    sample_rate: int,
    *,
    fade_in: bool = True,
    fade_out: bool = True,
) -> NDArray[np.float32]:
    """Return a piece of a clip of ``num_samples`` with the clip's raised-cosine edge fades on it.

    The piece starts ``start_sample`` into the clip; pieces faded one by one equal the whole clip faded.
    """
    position = np.arange(start_sample, start_sample + chunk_CS.shape[1])
    distance_in = (position + 0.5) / max(1.0, FADE_IN_SECONDS * sample_rate)
    distance_out = (num_samples - position - 0.5) / max(1.0, FADE_OUT_SECONDS * sample_rate)
    wanted = [distance for distance, fades in ((distance_in, fade_in), (distance_out, fade_out)) if fades]
    if not wanted:
        return chunk_CS
    gain = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum.reduce(wanted), 0, 1))
    faded: NDArray[np.float32] = chunk_CS * gain.astype(np.float32)
    return faded
