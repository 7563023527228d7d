"""The daemon's engine process when the engine stands in a Ray cluster: hands its jobs on, reports back. Knows no torch.

To the daemon it is an engine like any other, on the same link; to the cluster it is a driver, whose end ends its actor.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

from sa3_daw.config import DaemonConfig, config_from_plain
from sa3_daw.engine.main import Link, read_settings, serve
from sa3_daw.engine.ray_actor import MakeEngine, residents
from sa3_daw.engine.ray_cluster import RayCluster, RemoteEngine
from sa3_daw.errors import EngineDead
from sa3_daw.generation.events import AudioChunk, Event, Progress, TakeMade
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job
from sa3_daw.logs import about, set_up_logging
from sa3_daw.protocol.messages import Accepted, Residency, ResidentModel

log = logging.getLogger(__name__)

SIGN_OF_LIFE_SECONDS = 2.0
"""While the cluster has no room for the engine, the waiting job says so this often, and can be cancelled."""
MAX_ATTEMPTS = 3
MAX_SOURCES = 8
"""Sources that stay in the object store, so that an edit rolled again sends nothing."""


class ClusterEngine:
    """An ``Engine`` that is one actor of a cluster at a time; a lost one is replaced."""

    def __init__(self, cluster: RayCluster, config: DaemonConfig) -> None:
        self._cluster = cluster
        self._store = SourceStore(config.data_dir)
        self._sources: dict[str, Any] = {}
        self._engine = cluster.hire()

    def run(self, job: Job, look: Callable[[], None]) -> Iterator[Event]:
        """Run a job; until its first audio a lost engine costs a new attempt, afterwards the job.

        It stops between two events alone.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            has_audio = False
            try:
                for event in self._attempt(job):
                    has_audio |= isinstance(event, AudioChunk | TakeMade)
                    yield event
                return
            except EngineDead as error:
                if has_audio or attempt == MAX_ATTEMPTS:
                    raise
                log.warning("attempt %d: %s", attempt, error.message, extra=about(job.job_id))

    def load(self, name: str, keep_alive_seconds: float) -> None:
        self._current().load(name, keep_alive_seconds)

    def unload(self, name: str) -> None:
        self._current().unload(name)

    def models(self) -> tuple[ResidentModel, ...]:
        """Return the models in memory over there, as far as heard."""
        return () if self._engine.is_dead else self._engine.residency.models

    def _attempt(self, job: Job) -> Iterator[Event]:
        engine = self._current()
        while not engine.is_ready(SIGN_OF_LIFE_SECONDS):
            yield Progress("loading", 0, 1)
        remote = engine.start(job, self._source(job))
        try:
            for report in remote:
                if not isinstance(report, Accepted | Residency):
                    yield report
        finally:
            remote.cancel()

    def _current(self) -> RemoteEngine:
        if self._engine.is_dead:
            self._engine = self._cluster.hire()
        return self._engine

    def _source(self, job: Job) -> Any:
        """Return the handle of the job's source in the object store, put there when it is not."""
        if job.source is None:
            return None
        audio = job.source.audio
        handle = self._sources.pop(audio, None) or self._cluster.put(self._store.read_audio(audio))
        self._sources[audio] = handle
        while len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        return handle


def serve_cluster(make_engine: MakeEngine) -> int:
    """Serve the daemon's jobs with an engine in the configured cluster."""
    settings = read_settings()
    config = config_from_plain(settings["config"])
    set_up_logging(config.log_level)
    cluster = RayCluster(config.ray, make_engine)
    link = Link(settings)
    serve(link, ClusterEngine(cluster, config))
    link.close()
    cluster.close()
    return 0


def main() -> int:
    return serve_cluster(residents)


if __name__ == "__main__":
    sys.exit(main())
