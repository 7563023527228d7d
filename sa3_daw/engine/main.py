"""The engine process: takes one task at a time from its daemon, does it, reports. Knows no client and no queue.

``serve`` is the loop; what runs jobs and holds models is handed in, so that other engines can speak the same link.
The process ends with its daemon, however that ends.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zmq

from sa3_daw.config import config_from_plain
from sa3_daw.engine.compile_cache import keep_what_is_compiled
from sa3_daw.errors import EngineError, OutOfMemory, Sa3Error, is_out_of_memory
from sa3_daw.generation.events import AudioChunk, Event, TakeMade
from sa3_daw.generation.events import Finished as RunFinished
from sa3_daw.job import Job
from sa3_daw.logs import about, set_up_logging
from sa3_daw.parent import end_with_parent
from sa3_daw.protocol.framing import decode, encode
from sa3_daw.protocol.messages import (
    Audio,
    Cancel,
    Cancelled,
    Expect,
    Failed,
    Finished,
    LatentsWritten,
    LoadModel,
    LoadModelReply,
    Made,
    Message,
    Progress,
    Ready,
    Rejected,
    Residency,
    ResidentModel,
    Shutdown,
    UnloadModel,
    UnloadModelReply,
)
from sa3_daw.spare_memory import SpareMemory

if TYPE_CHECKING:
    from sa3_daw.engine.ahead import Ahead

log = logging.getLogger("sa3_daw.engine")

PAUSE_BEFORE_AHEAD_SECONDS = 1.0
"""So long nothing must have come before anything is prepared: between two requests of one musician nothing is."""


class Stopped(Exception):
    """Nothing more is wanted of the job that runs."""


class Engine(Protocol):
    """What does the work."""

    def run(self, job: Job, look: Callable[[], None]) -> Iterator[Event]:
        """Run a job. ``look`` raises Stopped when it is to stop; call it where two events lie far apart, or never."""
        ...

    def load(self, name: str, keep_alive_seconds: float) -> None:
        """Make a model resident and keep it so for at least that long."""
        ...

    def unload(self, name: str) -> None:
        """Free a model's memory, if it is resident."""
        ...

    def models(self) -> tuple[ResidentModel, ...]:
        """Return the models in memory."""
        ...


class Link:
    """The engine's end of the link to its daemon."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.linger = 1000
        if "server_key" in settings:
            self._socket.curve_serverkey = settings["server_key"].encode()
            self._socket.curve_publickey = settings["public_key"].encode()
            self._socket.curve_secretkey = settings["secret_key"].encode()
        self._socket.connect(settings["endpoint"])

    def send(self, message: Message, job_id: str = "", buffer: bytes | None = None) -> None:
        """Send one message; never blocks."""
        self._socket.send_multipart(encode(message, job=job_id, buffer=buffer))

    def receive(self, *, wait: bool) -> tuple[Message, str] | None:
        """Return the next message and its job id; without ``wait`` None when there is none."""
        while wait or self._socket.poll(0):
            received = decode(self._socket.recv_multipart())
            if received is not None:
                return received.message, received.header.job
        return None

    def has_message(self, timeout_seconds: float) -> bool:
        """Wait at most so long for a message; tell whether there is one."""
        return bool(self._socket.poll(int(1000 * timeout_seconds)))

    def close(self) -> None:
        """Send what is left, at most a second long, and close."""
        self._socket.close()
        self._context.term()


def read_settings() -> dict[str, Any]:
    """Read the daemon's one line on standard input, then end this process when that input or the daemon ends."""
    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_daemon, name="watch-daemon", daemon=True).start()
    end_with_parent(settings["parent_pid"])
    return settings


def _end_with_daemon() -> None:
    while os.read(0, 1024):
        continue
    os._exit(1)


def serve(link: Link, engine: Engine, ahead: Ahead | None = None) -> None:
    """Do what the daemon asks until it says shutdown; between tasks, what an engine that looks ahead expects."""
    link.send(Ready(os.getpid()))
    told: tuple[ResidentModel, ...] = ()
    spare_memory = SpareMemory()
    goes_on = True
    while goes_on:
        if engine.models() != told:
            told = engine.models()
            link.send(Residency(told))
        if ahead is not None:
            work_ahead(link, ahead)
        if not spare_memory.due_in_seconds or not link.has_message(spare_memory.due_in_seconds):
            spare_memory.give_back()
        received = link.receive(wait=True)
        assert received is not None
        message, _ = received
        if isinstance(message, Shutdown):
            return
        if isinstance(message, Job):
            goes_on = serve_job(link, message, engine)
        elif isinstance(message, LoadModel | UnloadModel):
            link.send(obey(message, engine))
        elif isinstance(message, Expect) and ahead is not None:
            ahead.expect(message.job)


def work_ahead(link: Link, ahead: Ahead) -> None:
    """Prepare while nothing comes; tell what was written, by the task before as well."""
    tell_written(link, ahead)
    if ahead.has_work and not link.has_message(PAUSE_BEFORE_AHEAD_SECONDS):
        with closing(ahead.work()) as pieces:  # type: ignore[type-var]
            for _ in pieces:
                if link.has_message(0):
                    break
        tell_written(link, ahead)


def tell_written(link: Link, ahead: Ahead) -> None:
    """Tell the daemon how much more latents there are on disk."""
    num_bytes = ahead.take_num_written_bytes()
    if num_bytes:
        link.send(LatentsWritten(num_bytes))


def serve_job(link: Link, job: Job, engine: Engine) -> bool:
    """Run one job and report it to its end. Returns False when the daemon said shutdown meanwhile."""
    order: Cancel | Shutdown | None = None

    def look() -> None:
        nonlocal order
        order = pending_order(link, job.job_id)
        if order is not None:
            raise Stopped

    try:
        with closing(engine.run(job, look)) as events:  # type: ignore[type-var]
            for event in events:
                link.send(*wire_event(event, job.job_id))
                if isinstance(event, RunFinished):
                    return True
                look()
    except Stopped:
        link.send(Cancelled(), job.job_id)
        return isinstance(order, Cancel)
    except Exception as error:
        link.send(failed(error_of_job(job, error)), job.job_id)
    return True


def obey(order: LoadModel | UnloadModel, engine: Engine) -> LoadModelReply | UnloadModelReply | Rejected:
    """Load or unload a model and return the answer."""
    try:
        if isinstance(order, UnloadModel):
            engine.unload(order.model)
            return UnloadModelReply(engine.models())
        engine.load(order.model, order.keep_alive_seconds)
        return LoadModelReply(engine.models())
    except Sa3Error as error:
        return Rejected(error.code, error.message, error.field, error.value, error.allowed)
    except Exception as error:
        log.exception("model %s cannot be loaded", order.model)
        code = OutOfMemory.code if is_out_of_memory(error) else EngineError.code
        return Rejected(code, f"model {order.model!r} cannot be loaded: {error!s:.500}", "model", order.model)


def pending_order(link: Link, job_id: str) -> Cancel | Shutdown | None:
    """Return what the daemon wants of the running job; cancels of other jobs are late and mean nothing."""
    while (received := link.receive(wait=False)) is not None:
        message, named = received
        if isinstance(message, Shutdown) or (isinstance(message, Cancel) and named == job_id):
            return message
    return None


def wire_event(event: Event, job_id: str) -> tuple[Message, str, bytes | None]:
    """Return an event of a run as message, job id and buffer; the buffer is a fresh copy."""
    if isinstance(event, AudioChunk):
        num_channels, num_samples = event.samples.shape
        buffer = np.ascontiguousarray(event.samples, dtype="<f4").tobytes()
        audio = Audio(event.start_sample, num_samples, num_channels, event.variation, event.draft)
        return audio, job_id, buffer
    if isinstance(event, TakeMade):
        return Made(event), job_id, None
    if isinstance(event, RunFinished):
        return Finished(event.num_samples, event.peak_db, event.rms_db, event.timings_seconds), job_id, None
    return Progress(event.stage, event.step, event.num_steps), job_id, None


def error_of_job(job: Job, error: Exception) -> Sa3Error:
    """Log what ended a job and return it as one of our errors."""
    if isinstance(error, Sa3Error):
        log.warning("failed: %s", error.message, extra=about(job.job_id))
        return error
    log.error("failed", exc_info=error, extra=about(job.job_id))
    if is_out_of_memory(error):
        return out_of_memory(job, error)
    reason = f"{type(error).__name__}: {error}"
    return EngineError(f"the engine could not finish the job: {reason:.500}")


def failed(error: Sa3Error) -> Failed:
    """Return the message that carries an error."""
    return Failed(error.code, error.message, error.field, error.value, error.allowed)


def out_of_memory(job: Job, error: BaseException) -> OutOfMemory:
    """Return the error for a job that needs more memory than there is."""
    return OutOfMemory(
        f"not enough memory for {job.num_samples} samples at {job.sample_rate} Hz: {error!s:.200}; try a shorter clip"
    )


def rest_between_regions() -> None:
    """Let idle compute threads sleep instead of spin; OpenMP reads this when torch is loaded.

    Spinning costs a busy neighbour (a DAW) more than half of its core, and us as much (docs/performance.md).
    """
    for name, value in (("OMP_WAIT_POLICY", "passive"), ("GOMP_SPINCOUNT", "20000"), ("KMP_BLOCKTIME", "0")):
        os.putenv(name, value)


def main() -> int:
    """Serve jobs with the models of this machine."""
    settings = read_settings()
    config = config_from_plain(settings["config"])
    set_up_logging(config.log_level)
    link = Link(settings)
    rest_between_regions()
    keep_what_is_compiled(config)
    # Here and not above: torch takes seconds, and engines that need none share this module.
    from sa3_daw.engine.ahead import Ahead
    from sa3_daw.engine.residency import Residents

    residents = Residents(config)
    residents.preload()
    serve(link, residents, Ahead(residents))
    link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
