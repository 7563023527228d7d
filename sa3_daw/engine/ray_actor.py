"""One engine in a Ray worker's process, on a machine with its own configuration. Knows no cluster and no daemon.

It checks each job against this machine's models itself, so that whoever sends jobs needs none of them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from time import time

import numpy as np
from numpy.typing import NDArray

from sa3_daw.adapter_files import list_adapters
from sa3_daw.blobs import BYTES_PER_FRAME, audio_path
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.daemon.admission import accepted, admit
from sa3_daw.daemon.reports import hello_reply
from sa3_daw.engine.compile_cache import keep_what_is_compiled
from sa3_daw.engine.main import Engine, Stopped, error_of_job, rest_between_regions
from sa3_daw.errors import RequestError, invalid
from sa3_daw.generation.events import Event
from sa3_daw.job import Job
from sa3_daw.logs import set_up_logging
from sa3_daw.protocol.endpoints import DaemonLock
from sa3_daw.protocol.messages import Accepted, HelloReply, Residency

Report = Accepted | Event | Residency
"""What a job yields here: what it was accepted as, its events, and at the end which models are in memory."""
MakeEngine = Callable[[DaemonConfig], Engine]

PREFIX = "sa3-daw-engine-"
NEW_SECONDS = 60.0
"""A younger folder may not be locked yet."""


def residents(config: DaemonConfig) -> Engine:
    """Return the engine that runs jobs with this machine's models, the configured one loaded."""
    rest_between_regions()
    keep_what_is_compiled(config)
    # Here and not above: torch takes seconds, and engines that need none share this module.
    from sa3_daw.engine.residency import Residents

    engine = Residents(config)
    engine.preload()
    return engine


def sweep(parent: Path) -> None:
    """Remove what engines have left that were killed: their folders' locks are free."""
    for folder in parent.glob(f"{PREFIX}*"):
        lock = DaemonLock(folder)
        with suppress(OSError, RequestError):  # It is another user's, or its engine lives.
            if time() - folder.stat().st_mtime > NEW_SECONDS:
                lock.acquire()
                shutil.rmtree(folder)
        lock.release()


class RayActor:
    """Runs one job at a time. Of its audio nothing stays on this machine's disk; what was compiled for it does."""

    def __init__(self, make_engine: MakeEngine) -> None:
        self._config = load_config()
        set_up_logging(self._config.log_level)
        sweep(Path(gettempdir()))
        self._temporary = TemporaryDirectory(prefix=PREFIX)
        self._folder = Path(self._temporary.name)
        self._lock = DaemonLock(self._folder)
        self._lock.acquire()
        cache = self._config.data_dir / "cache"
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / "cache").symlink_to(cache)
        self._engine = make_engine(replace(self._config, data_dir=self._folder))

    def hello(self) -> tuple[HelloReply, Residency]:
        """Tell this machine's models and limits, and which models are in memory."""
        return hello_reply(self._config, self._engine.models()), Residency(self._engine.models())

    def load(self, model: str, keep_alive_seconds: float) -> Residency:
        """Make a model resident."""
        self._engine.load(model, keep_alive_seconds)
        return Residency(self._engine.models())

    def unload(self, model: str) -> Residency:
        """Free a model's memory."""
        self._engine.unload(model)
        return Residency(self._engine.models())

    def run(self, job: Job, source: NDArray[np.float32] | None) -> Iterator[Report]:
        """Run a job; ``source`` is the audio [2, n] that it names by its hash. Raises Sa3Error."""
        from ray import get_runtime_context

        def look() -> None:
            if get_runtime_context().is_canceled():
                raise Stopped

        try:
            num_source_samples = self._store(job.source.audio, source) if job.source and source is not None else 0
            adapters = [entry.name for entry in list_adapters(self._config.adapters_dir)] if job.adapters else []
            admitted = admit(job, self._config, lambda _: num_source_samples, adapters)
            yield accepted(admitted, self._config, 0, None)
            with closing(self._engine.run(admitted, look)) as events:  # type: ignore[type-var]
                for event in events:
                    yield event
                    look()
            yield Residency(self._engine.models())
        except Stopped:
            return
        except Exception as error:
            raise error_of_job(job, error) from None
        finally:
            for name in ("audio", "latents"):
                shutil.rmtree(self._folder / name, ignore_errors=True)

    def _store(self, audio: str, samples_CS: NDArray[np.float32]) -> int:
        """Put the audio where the engine looks for it; return its length. Raises InvalidField when it is another."""
        content = np.ascontiguousarray(samples_CS, dtype="<f4").tobytes()
        if hashlib.sha256(content).hexdigest() != audio:
            raise invalid("source.audio", audio, "the hash of the audio that was sent with the job")
        path = audio_path(self._folder, audio)
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        return len(content) // BYTES_PER_FRAME
