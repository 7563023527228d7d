"""Who makes jobs for a renderer: a daemon's Client, or a Ray cluster. Knows neither."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_daw.client import Stream
from sa3_daw.job import Job
from sa3_daw.protocol.messages import HelloReply


class Maker(Protocol):
    """Makes jobs, several at once."""

    def hello(self) -> HelloReply:
        """Return the models and limits there."""
        ...

    def submit(self, job: Job) -> Stream:
        """Hand over a job."""
        ...

    def put_audio(self, samples_CS: NDArray[np.float32]) -> str:
        """Store stereo audio [2, n] as a source and return its address."""
        ...

    def close(self) -> None:
        """Let go; what still runs is cancelled."""
