"""Engines on the machines of a Ray cluster, seen from here. Knows no batch, no queue and no daemon.

The only module that drives Ray, which is imported when a cluster is connected to and not before.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from socket import create_connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw import __version__
from sa3_daw.engine.ray_actor import MakeEngine, RayActor, Report, residents
from sa3_daw.errors import EngineDead, EngineError, Sa3Error, Unsupported, invalid
from sa3_daw.job import Job
from sa3_daw.protocol.messages import HelloReply, Residency

log = logging.getLogger(__name__)

INSTALL = "pip install 'sa3-daw[ray]'"
CONNECT_SECONDS = 5.0
MAX_WAITING_CHUNKS = 256
"""Chunks of one job that an engine makes ahead of whoever takes them."""


def check_head(address: str) -> None:
    """Knock at the head node's door, because Ray itself tries for minutes. Raises InvalidField, Unsupported."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[\w.-]+", host) or not port.isdecimal():
        raise invalid("ray", address, "HOST:PORT of the cluster's head node, or auto on one of its machines")
    try:
        create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise no_cluster(address, error) from error


def log_message(data: dict[str, Any], ignore_prefix: bool) -> None:
    """Take what Ray has to say of the cluster into our log, without the tail of the machine's own."""
    log.info("Ray, %s: %s", data["pid"], data["lines"][0].partition(" Last 20 lines")[0])


def no_cluster(address: str, error: Exception) -> Unsupported:
    return Unsupported(f"no Ray cluster at {address} lets this machine in: {error!s:.300}", field="ray", value=address)


class RayCluster:
    """A connection to a cluster; its engines end with it, however it ends."""

    def __init__(self, address: str, make_engine: MakeEngine = residents) -> None:
        """Connect. Raises Unsupported without Ray, and when no cluster of that address lets us in."""
        try:
            import ray
        except ImportError as error:
            raise Unsupported(f"Ray is not installed here: {INSTALL} ({error})", field="ray", value=address) from error
        self._ray: Any = ray
        self._make_engine = make_engine
        check_head(address)
        try:
            ray.init(address, namespace="sa3-daw", log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            raise no_cluster(address, error) from error
        # Ray has no switch for this: it prints what a dead machine logged last to standard output, where our JSON goes.
        ray._private.worker.print_to_stdstream = log_message

    def num_places(self) -> int:
        """Return how many engines fit: one per GPU, or without any one per machine that offers processors."""
        num_gpus = int(self._ray.cluster_resources().get("GPU", 0))
        return num_gpus or len(self._machines())

    def hire(self) -> RemoteEngine:
        """Ask for an engine on the machine with the most room; it is there when ``is_ready`` says so."""
        ray = self._ray
        has_gpu = ray.cluster_resources().get("GPU", 0) > 0
        # Ray hands this number on as OMP_NUM_THREADS, from which the engine takes its number of threads.
        least = min((node["Resources"]["CPU"] for node in self._machines()), default=1.0)
        room = {"num_gpus": 1, "num_cpus": 1} if has_gpu else {"num_cpus": max(1, int(least) // 2)}
        actor = ray.remote(RayActor).options(scheduling_strategy="SPREAD", **room)
        return RemoteEngine(ray, actor.remote(self._make_engine))

    def put(self, samples_CS: NDArray[np.float32]) -> Any:
        """Put audio into the object store, from where each engine's machine fetches it once; return its handle."""
        return self._ray.put(np.ascontiguousarray(samples_CS, dtype="<f4"))

    def close(self) -> None:
        """Disconnect; the engines end."""
        self._ray.shutdown()

    def _machines(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


class RemoteEngine:
    """One engine in the cluster: alive until it is found dead or dismissed. ``models`` are those in its memory."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._hello = actor.hello.remote()
        self.residency = Residency(())
        self.is_dead = False

    def is_ready(self, wait_seconds: float) -> bool:
        """Tell whether it has started, after waiting so long at most. Raises what keeps it from starting."""
        return bool(self._ray.wait([self._hello], timeout=wait_seconds)[0]) and bool(self.hello())

    def hello(self) -> HelloReply:
        """Wait until it has started; return its machine's models and limits. Raises EngineDead, Unsupported."""
        hello, residency = self._get(self._hello)
        assert isinstance(hello, HelloReply)
        if hello.daemon_version != __version__:
            versions = f"sa3-daw {hello.daemon_version} there, {__version__} here"
            raise Unsupported(f"the cluster's machines need the same version as this one: {versions}", field="ray")
        if not self.residency.models:
            self.residency = residency
        return hello

    def load(self, model: str, keep_alive_seconds: float) -> None:
        self.residency = self._get(self._actor.load.remote(model, keep_alive_seconds))

    def unload(self, model: str) -> None:
        self.residency = self._get(self._actor.unload.remote(model))

    def start(self, job: Job, source: Any) -> RemoteJob:
        """Hand over a job, with the handle of its source's audio, if any; it runs after those given before."""
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": MAX_WAITING_CHUNKS}
        return RemoteJob(self, self._actor.run.options(**options).remote(job, source))

    def dismiss(self) -> None:
        """End it, also when it hangs."""
        self.is_dead = True
        self._ray.kill(self._actor)

    def _get(self, reference: Any) -> Any:
        return self.told(lambda: self._ray.get(reference))

    def told(self, ask: Callable[[], Any]) -> Any:
        """Return what asking yields. Raises EngineDead when it is gone, or the error that was raised over there."""
        errors = self._ray.exceptions
        try:
            return ask()
        except errors.RayTaskError as error:
            if isinstance(error.cause, Sa3Error):
                raise error.cause from None
            raise EngineError(f"the engine failed: {error.cause!s:.300}") from error
        except errors.RayError as error:
            reason = str(error).strip().rpartition("\n")[2]
            log.info("engine lost: %s", error)
            self.dismiss()
            raise EngineDead(f"the engine in the cluster is gone: {reason:.300}") from error

    def next_of(self, references: Any) -> Report:
        """Wait for the next report of a job. Raises StopIteration after its last one, and what ``told`` raises."""
        report: Report = self.told(lambda: self._ray.get(next(references)))
        if isinstance(report, Residency):
            self.residency = report
        return report

    def stop(self, references: Any) -> None:
        """Stop a job; the engine looks often."""
        if not self.is_dead:
            self._ray.cancel(references)


class RemoteJob:
    """What a remote job reports, fetched through the object store as it is made."""

    def __init__(self, engine: RemoteEngine, references: Any) -> None:
        self._engine = engine
        self._references = references
        self._ended = False

    def __iter__(self) -> Iterator[Report]:
        """Yield what is left of its reports. Raises the job's Sa3Error, EngineDead when the engine is lost."""
        while not self._ended:
            try:
                yield self._engine.next_of(self._references)
            except StopIteration:
                self._ended = True
            except Sa3Error:
                self._ended = True
                raise

    def cancel(self) -> None:
        """Stop it, unless it has ended."""
        if not self._ended:
            self._ended = True
            self._engine.stop(self._references)
