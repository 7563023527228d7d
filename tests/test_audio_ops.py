"""Edge fades: no click at either end, nothing changed between, the same in pieces as in one."""

from __future__ import annotations

import numpy as np
import pytest

from sa3_daw.audio.ops import FADE_IN_SECONDS, FADE_OUT_SECONDS, fade_edges

RATE = 48000


@pytest.mark.parametrize("num_pieces", [1, 2, 7, 100])
def test_faded_pieces_equal_the_faded_whole(num_pieces: int) -> None:
    clip = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    whole = fade_edges(clip, 0, 5000, RATE)
    position, pieces = 0, []
    for piece in np.array_split(clip, num_pieces, axis=1):
        pieces.append(fade_edges(piece, position, 5000, RATE))
        position += piece.shape[1]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_only_the_edges_change_and_they_reach_silence() -> None:
    clip = np.ones((2, RATE), np.float32)
    faded = fade_edges(clip, 0, RATE, RATE)
    fade_in, fade_out = round(FADE_IN_SECONDS * RATE), round(FADE_OUT_SECONDS * RATE)
    assert np.array_equal(faded[:, fade_in:-fade_out], clip[:, fade_in:-fade_out])
    assert float(faded[:, 0].max()) < 0.01 and float(faded[:, -1].max()) < 0.001
    assert bool((np.diff(faded[0, :fade_in]) > 0).all()) and bool((np.diff(faded[0, -fade_out:]) < 0).all())


@pytest.mark.parametrize("num_samples", [1, 2, 10, 300])
def test_clips_shorter_than_the_fades_stay_finite_and_audible(num_samples: int) -> None:
    faded = fade_edges(np.ones((2, num_samples), np.float32), 0, num_samples, RATE)
    assert faded.dtype == np.float32 and 0 < float(faded.max()) <= 1
