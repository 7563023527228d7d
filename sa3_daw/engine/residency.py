"""Models kept in memory from first use on, and a job run with its model. Knows no socket."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from sa3_daw.catalogue import find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.errors import Sa3Error
from sa3_daw.generation.events import Event, Progress
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import Job

log = logging.getLogger(__name__)


class Residency:
    """Loaded models by name."""

    def __init__(self, config: DaemonConfig) -> None:
        torch.set_num_threads(config.engine_threads)
        self._config = config
        self._loaded: dict[str, LoadedModel] = {}

    def preload(self) -> None:
        """Load the configured model, if any. What is wrong with it is told to the first job that wants it."""
        if not self._config.preload:
            return
        try:
            self._load(self._config.preload)
        except Sa3Error as error:
            log.error("cannot preload %r: %s", self._config.preload, error.message)

    def run(self, job: Job) -> Iterator[Event]:
        """Run a job, loading its model first when it is not resident; closing the iterator cancels."""
        if job.model not in self._loaded:
            yield Progress("loading", 0, 1)
            self._load(job.model)
            yield Progress("loading", 1, 1)
        yield from run(job, self._loaded[job.model])

    def _load(self, name: str) -> None:
        self._loaded[name] = load_model(find_model(name, self._config).directory, name)
        log.info("model %r is loaded", name)
