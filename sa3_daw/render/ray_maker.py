"""Makes jobs with all engines of a Ray cluster: each goes where its model is in memory. Knows no batch and no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw.client import JobEvent, audio_address
from sa3_daw.engine.ray_actor import MakeEngine, Report, residents
from sa3_daw.engine.ray_cluster import RayCluster, RemoteEngine, RemoteJob
from sa3_daw.errors import EngineDead
from sa3_daw.generation.events import AudioChunk, TakeMade
from sa3_daw.generation.events import Progress as StepDone
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted, Finished, HelloReply, Progress, Residency, Take

LOADING_COSTS_JOBS = 2
"""So many jobs are waited for rather than loading a model a second time."""
START_SECONDS = 300.0
MAX_FALSE_STARTS = 5
JOBS_PER_ENGINE = 2
"""One that runs and one that waits, so that no engine pauses between two."""


@dataclass(eq=False)
class Hired:
    """One engine and the models of the jobs it was given and has not ended."""

    engine: RemoteEngine
    models: list[str] = field(default_factory=list)

    def cost(self, model: str) -> int:
        """Return how long a job of that model would wait here, counted in jobs."""
        resident = {each.name for each in self.engine.residency.models}
        return len(self.models) + (0 if model in resident or model in self.models else LOADING_COSTS_JOBS)


def cheapest(engines: Sequence[Hired], model: str) -> Hired:
    """Return the engine where a job waits least; of equals the idlest, so that work spreads."""
    return min(engines, key=lambda hired: (hired.cost(model), len(hired.models)))


class RayMaker:
    """A ``Maker`` of a whole cluster. A job of a lost engine raises EngineDead; the next one goes elsewhere."""

    def __init__(self, address: str, make_engine: MakeEngine = residents) -> None:
        """Connect and ask for every engine there is room for. Raises Unsupported, saying why that cannot be."""
        self._cluster = RayCluster(address, make_engine)
        self._hired = [Hired(self._cluster.hire()) for _ in range(max(1, self._cluster.num_places()))]
        self._sources: dict[str, Any] = {}
        self._num_false_starts = 0

    @property
    def num_engines(self) -> int:
        return len(self._hired)

    def hello(self) -> HelloReply:
        """Return the models and limits of the first engine that is there; every machine is to have the same."""
        return self._ready()[0].engine.hello()

    def submit(self, job: Job) -> RayStream:
        """Hand over a job."""
        hired = cheapest(self._ready(), job.model)
        source = self._sources[job.source.audio] if job.source else None
        return RayStream(job, hired, hired.engine.start(job, source))

    def put_audio(self, samples_CS: NDArray[np.float32]) -> str:
        """Put stereo audio [2, n] into the object store and return its address."""
        address = audio_address(samples_CS)
        if address not in self._sources:
            self._sources[address] = self._cluster.put(samples_CS)
        return address

    def close(self) -> None:
        """Let go of the cluster; its engines end."""
        self._cluster.close()

    def _ready(self) -> list[Hired]:
        """Return the engines that have started, after replacing lost ones. Raises EngineDead when none comes."""
        deadline = monotonic() + START_SECONDS
        while True:
            self._hired = [Hired(self._cluster.hire()) if each.engine.is_dead else each for each in self._hired]
            for wait_seconds in (0.0, 1.0):
                if ready := [each for each in self._hired if self._has_started(each, wait_seconds)]:
                    return ready
            if monotonic() > deadline:
                raise EngineDead(f"no engine has started within {START_SECONDS:g} s; is the cluster full?")

    def _has_started(self, hired: Hired, wait_seconds: float) -> bool:
        try:
            has_started = not hired.engine.is_dead and hired.engine.is_ready(wait_seconds)
            if has_started:
                self._num_false_starts = 0
            return has_started
        except EngineDead:
            self._num_false_starts += 1
            if self._num_false_starts >= MAX_FALSE_STARTS:
                raise
            return False


class RayStream:
    """The events of one job in the cluster. What is made is not stored there: its take has no name."""

    def __init__(self, job: Job, hired: Hired, remote: RemoteJob) -> None:
        self.job = job
        self._hired: Hired | None = hired
        self._remote = remote
        hired.models.append(job.model)

    def __iter__(self) -> Iterator[JobEvent]:
        for report in self._remote:
            event = event_of(report)
            if event is not None:
                yield event

    def cancel(self) -> None:
        """Stop the job; no further event comes."""
        self._remote.cancel()

    def close(self) -> None:
        self._remote.cancel()
        if self._hired is not None:
            self._hired.models.remove(self.job.model)
            self._hired = None


def event_of(report: Report) -> JobEvent | None:
    """Return a report as a client hears it from a daemon."""
    if isinstance(report, Accepted | AudioChunk):
        return report
    if isinstance(report, TakeMade):
        return Take("", "", report)
    if isinstance(report, Residency):
        return None
    if isinstance(report, StepDone):
        return Progress(report.stage, report.step, report.num_steps)
    return Finished(report.num_samples, report.peak_db, report.rms_db, report.timings_seconds)
