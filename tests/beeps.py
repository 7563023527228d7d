"""A synthesiser that needs no sound font, for tests of what renders nano's corpus. Knows no test.

Its own file, so that processes which share work start quickly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sa3_training.corpus.score import DRUMS, Score
from sa3_training.corpus.sounds import SAMPLE_RATE


class Beeps:
    """Sines and clicks; ``rendered`` counts the clips."""

    def __init__(self) -> None:
        self.rendered = 0

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        self.rendered += 1
        audio = np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32)
        for note in score.notes:
            start = round(note.start_ppq * 60 / score.bpm * SAMPLE_RATE)
            times = np.arange(min(4000, max(0, audio.shape[1] - start))) / SAMPLE_RATE
            hertz = 4000 if note.part in DRUMS else 440 * 2 ** ((note.pitch - 69) / 12)
            audio[:, start : start + len(times)] += 0.1 * np.sin(2 * np.pi * hertz * times) * np.exp(-20 * times)
        return audio
