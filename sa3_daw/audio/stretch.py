"""Time-stretch by a few percent without changing pitch: WSOLA, overlapped pieces moved to where they fit best.

Knows no tempo and no take. Meant for ratios near 1: pieces are long, and each is searched only a few milliseconds
around its due place, so onsets stay whole and move by less than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIECE_SECONDS = 0.05
SEARCH_SECONDS = 0.006


def stretch(samples_CS: NDArray[np.float32], ratio: float, sample_rate: int) -> NDArray[np.float32]:
    """Return the clip ``ratio`` times as long, rounded to the sample; 1 returns it unchanged."""
    num_out = round(samples_CS.shape[1] * ratio)
    if ratio == 1:
        return samples_CS
    hop = round(PIECE_SECONDS * sample_rate / 2)
    reach = round(SEARCH_SECONDS * sample_rate)
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(hop) + 0.5) / hop)).astype(np.float32)
    room = 2 * hop + reach
    padded = np.pad(samples_CS, ((0, 0), (room, 2 * room)))
    mid = padded.mean(axis=0)
    out = np.zeros((len(samples_CS), num_out + 2 * hop), dtype=np.float32)
    tail = padded[:, room : room + hop]  # what follows the last piece in the source: where the next one begins best
    follow = mid[room : room + hop]
    for start in range(0, num_out, hop):
        due = room + round(start / ratio)
        at = due + _best_shift(mid[due - reach : due + reach + hop], follow) - reach if start else due
        out[:, start : start + hop] = tail * (1 - rise) + padded[:, at : at + hop] * rise
        tail, follow = padded[:, at + hop : at + 2 * hop], mid[at + hop : at + 2 * hop]
    return out[:, :num_out]


def _best_shift(around: NDArray[np.float32], wanted: NDArray[np.float32]) -> int:
    """Return where ``wanted`` correlates best with ``around``, normalised by its level there."""
    size = 1 << (len(around) + len(wanted) - 1).bit_length()
    product = np.fft.rfft(around, size) * np.conj(np.fft.rfft(wanted, size))
    count = len(around) - len(wanted) + 1
    correlation = np.fft.irfft(product, size)[:count]
    squares = np.cumsum(np.concatenate(([0.0], np.square(around, dtype=np.float64))))
    energy = squares[len(wanted) :] - squares[: len(squares) - len(wanted)]
    return int(np.argmax(correlation / np.sqrt(energy + 1e-9)))
