"""Clips laid out in time and strips summed: float32 additions in a fixed order. Knows no file and no effect."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sa3_daw.render.project.nodes import Placement

Audio = NDArray[np.float32]


def lay_out(num_samples: int, placed: Iterable[tuple[Placement, Audio]]) -> Audio:
    """Return silence with clips in it, each with its gain and fades; clips do not overlap."""
    track = np.zeros((2, num_samples), dtype=np.float32)
    for placement, clip in placed:
        piece = clip[:, placement.first_sample : placement.end_sample] * np.float32(placement.gain)
        end = placement.start_sample + placement.num_samples
        track[:, placement.start_sample : end] = faded(piece, placement.fade_in_samples, placement.fade_out_samples)
    return track


def faded(samples_CS: Audio, fade_in_samples: int, fade_out_samples: int) -> Audio:
    """Return audio with raised-cosine fades at its ends."""
    out: Audio = samples_CS.copy()
    for num_samples, step in ((fade_in_samples, 1), (fade_out_samples, -1)):
        if num_samples:
            rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(num_samples) + 0.5) / num_samples)
            out[:, ::step][:, :num_samples] *= rise.astype(np.float32)
    return out


def sum_up(num_samples: int, fed: Iterable[tuple[float, float, Audio]]) -> Audio:
    """Return the sum of strips, each multiplied on its left and right, in the order given."""
    out = np.zeros((2, num_samples), dtype=np.float32)
    for left, right, strip in fed:
        out += strip * np.array([[left], [right]], dtype=np.float32)
    return out
