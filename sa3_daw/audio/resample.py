"""Sample-rate conversion in a stream, bit-equal to one shot whatever the chunks. Knows no clip and no model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

REACH_SAMPLES = 128
"""Input samples beyond a position that still change it by more than -156 dB (VHQ, 44.1 kHz to 48, 88.2, 96,
192 kHz, white noise; at 64 samples it is -67 dB). Falling rates stretch the filter in proportion."""


class StreamResampler:
    """Feed with ``process``, end with ``finish``; the pieces together are the one-shot result.

    For n samples in, n * out_rate / in_rate come out, rounded (an exact half may go either way), without
    added delay. Equal rates pass through unchanged.
    """

    def __init__(self, in_rate: int, out_rate: int, num_channels: int) -> None:
        self._num_channels = num_channels
        self._stream = (
            None
            if in_rate == out_rate
            else soxr.ResampleStream(in_rate, out_rate, num_channels, dtype="float32", quality="VHQ")
        )

    def process(self, samples_CS: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what can be said so far, [C, n] with any n from 0 on."""
        return samples_CS if self._stream is None else self._push(samples_CS, last=False)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest. The resampler is spent afterwards."""
        nothing = np.zeros((self._num_channels, 0), dtype=np.float32)
        return nothing if self._stream is None else self._push(nothing, last=True)

    def _push(self, samples_CS: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        assert self._stream is not None
        frames = np.ascontiguousarray(samples_CS.T, dtype=np.float32)
        return np.ascontiguousarray(self._stream.resample_chunk(frames, last=last).T)


def covering_samples(num_samples: int, out_rate: int, in_rate: int) -> int:
    """Return how many samples at ``in_rate`` give ``num_samples`` at ``out_rate`` with an undisturbed end.

    Beyond the last one, the filter's reach is included: without it the final samples would ring into silence.
    """
    if out_rate == in_rate:
        return num_samples
    reach = -(-REACH_SAMPLES * max(in_rate, out_rate) // out_rate)
    return -(-num_samples * in_rate // out_rate) + reach


def common_start(out_sample: int, in_rate: int, out_rate: int) -> tuple[int, int]:
    """Return an instant that is a whole sample at both rates, as (in sample, out sample).

    It is the last one early enough for a resampler started there to have settled at ``out_sample``.
    """
    unit = math.gcd(in_rate, out_rate)
    in_unit, out_unit = in_rate // unit, out_rate // unit
    settled = 0 if in_rate == out_rate else REACH_SAMPLES * max(1, -(-out_rate // in_rate))
    steps = (out_sample - settled) // out_unit
    return steps * in_unit, steps * out_unit


def resampled(
    pieces: Iterable[NDArray[np.float32]], in_rate: int, out_rate: int, skip_samples: int, num_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Yield ``num_samples`` after the first ``skip_samples`` of the resampled pieces [C, n], no piece empty.

    No more pieces are taken than that needs; after the last piece comes silence.
    """
    resampler: StreamResampler | None = None
    position, end = -skip_samples, num_samples
    source = iter(pieces)
    while position < end:
        piece = next(source, None)
        if resampler is None:
            assert piece is not None, "there is no audio to resample"
            resampler = StreamResampler(in_rate, out_rate, len(piece))
        out = resampler.finish() if piece is None else resampler.process(piece)
        wanted = out[:, max(0, -position) : max(0, end - position)]
        position += out.shape[1]
        if wanted.shape[1]:
            yield wanted
        if piece is None:
            assert position >= end, f"the audio ends {end - position} samples early"
