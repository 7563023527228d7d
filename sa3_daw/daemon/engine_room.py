"""The engine at work: started when needed, watched, given one task at a time, ended when idle. Knows no queue.

Two deaths end what was running: of the process itself, and of one that hangs, which is killed here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import zmq

from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.client_sockets import Address
from sa3_daw.daemon.engine_handle import EngineHandle
from sa3_daw.daemon.limits import MAX_ORDERS
from sa3_daw.errors import EngineDead, LimitExceeded
from sa3_daw.job import Job
from sa3_daw.logs import about
from sa3_daw.protocol.endpoints import ENGINE_LOG, IpcDir
from sa3_daw.protocol.framing import Received
from sa3_daw.protocol.messages import (
    TERMINAL,
    EngineStatus,
    Expect,
    Finished,
    Header,
    LatentsWritten,
    LoadModel,
    LoadModelReply,
    Message,
    Rejected,
    Residency,
    ResidentModel,
    UnloadModel,
    UnloadModelReply,
)

log = logging.getLogger(__name__)

RETIRE_GRACE_SECONDS = 10.0

MAX_EXPECTED = 64
"""As many as one job can have takes."""

Answer = Callable[[Address, Header, Message], None]
CountLatents = Callable[[int], None]


@dataclass(frozen=True)
class Order:
    """A client's wish about resident models."""

    client: Address
    header: Header
    message: LoadModel | UnloadModel


class EngineRoom:
    """The engine, its tasks and its models."""

    def __init__(
        self,
        config: DaemonConfig,
        context: zmq.Context[Any],
        ipc: IpcDir | None,
        answer: Answer,
        latents_written: CountLatents,
    ) -> None:
        self._config = config
        self._answer = answer
        self._latents_written = latents_written
        self._orders: deque[Order] = deque()
        self._order: Order | None = None
        self._expected: deque[Job] = deque(maxlen=MAX_EXPECTED)
        self._job_id = self._stopping_id = ""
        self._stop_asked_at: float | None = None
        self._used_at = monotonic()
        self._keep_until = 0.0
        self._restart = False
        self.handle = EngineHandle(config, context, ipc)
        self.models: tuple[ResidentModel, ...] = ()

    def open(self) -> None:
        """Start the first engine, if it is to start with the daemon."""
        if self._config.engine_at_start:
            self.handle.start()

    @property
    def is_hopeless(self) -> bool:
        """True when engines do not even start and the next attempt is not due yet."""
        return self.handle.policy.hopeless and self.handle.wait_seconds > 0

    @property
    def has_orders(self) -> bool:
        """True while a client waits for a model to come or go."""
        return self._order is not None or bool(self._orders)

    @property
    def is_occupied(self) -> bool:
        """True while a client waits for a model, or the engine has yet to stop a job of which nothing is wanted."""
        return self.has_orders or self._stop_asked_at is not None

    def clients_waiting(self) -> set[Address]:
        """Return the clients whose orders are not answered yet."""
        return {order.client for order in (*self._orders, *((self._order,) if self._order else ()))}

    def order(self, order: Order) -> None:
        """Take a client's order; it is answered when it is done. Raises LimitExceeded when too many wait."""
        if len(self._orders) >= MAX_ORDERS:
            allowed = f"at most {MAX_ORDERS} waiting orders"
            raise LimitExceeded(f"too many models to load and unload; {allowed}", field="model", allowed=allowed)
        if isinstance(order.message, UnloadModel) and self.handle.state == "stopped":
            self._answer(order.client, order.header, UnloadModelReply(()))
            return
        self._orders.append(order)

    def forget_client(self, client: Address) -> None:
        """Drop the orders of a client that is gone."""
        self._orders = deque(order for order in self._orders if order.client != client)

    def make_ready(self) -> bool:
        """Start an engine when none runs; True when one is idle and without orders."""
        if self.handle.state == "stopped" and not self.handle.wait_seconds:
            self.handle.start()
        return self.handle.state == "idle" and not self._orders

    def run(self, job: Job) -> None:
        """Give the idle engine a job."""
        self._job_id = job.job_id
        self.handle.give(job)

    def expect(self, job: Job) -> None:
        """Let the engine know a job that may come, once it is idle; the oldest of too many are forgotten."""
        self._expected.append(job)

    def stop(self) -> None:
        """Ask the engine to stop its job, of which nothing is heard from now on. It has limited time to do so."""
        self._stopping_id, self._job_id = self._job_id, ""
        self._stop_asked_at = monotonic()
        self.handle.cancel(self._stopping_id)

    def break_off(self, reason: str) -> None:
        """End an engine that broke the protocol; what it goes on to say about its job means nothing."""
        self._job_id = ""
        self.handle.kill(reason)

    def job_ended(self, *, well: bool) -> None:
        """The job's last event has come."""
        self._forget_job()
        self._used_at = monotonic()
        self.handle.task_ended()
        if well:
            self.handle.policy.finished_a_job()

    def hear(self) -> Iterator[Received]:
        """Yield the running job's events; what else the engine says is dealt with here."""
        for received in self.handle.receive():
            message = received.message
            if isinstance(message, Residency):
                self.models = message.models
            elif isinstance(message, LatentsWritten):
                self._latents_written(message.num_bytes)
            elif self._order is not None and isinstance(message, LoadModelReply | UnloadModelReply | Rejected):
                self._order_done(message)
            elif received.header.job and received.header.job == self._job_id:
                yield received
            elif received.header.job and received.header.job == self._stopping_id:
                if isinstance(message, TERMINAL):
                    log.info("engine: %s when it was to stop", type(message).__name__, extra=about(self._stopping_id))
                    self.job_ended(well=isinstance(message, Finished))
            else:
                log.warning("engine: %s about job %r, which does not run", type(message).__name__, received.header.job)

    def watch(self) -> str:
        """Notice an engine that hangs or has ended; return how it ended, once, else nothing."""
        self._watch_for_hanging()
        death = self.handle.death()
        if death:
            self.models = ()
            self._restart = not self.handle.policy.hopeless
            self._forget_job()
            if self._order is not None:
                error = self.dead(death)
                self._order_done(Rejected(error.code, error.message))
            if self.handle.policy.hopeless:
                self._refuse_orders()
        return death

    def tend(self, *, is_needed: bool) -> None:
        """Start the engine again after a death, give it the next order, end it when it has long been idle."""
        handle = self.handle
        if self._orders or is_needed or handle.state == "starting":
            self._used_at = monotonic()
        if handle.state == "stopped" and not handle.wait_seconds and (self._restart or self._orders):
            self._restart = False
            handle.start()
        elif handle.state == "idle" and self._orders:
            self._order = self._orders.popleft()
            handle.give(self._order.message)
        elif handle.state == "idle" and self._expected:
            handle.tell(Expect(self._expected.popleft()))
        elif handle.state == "idle" and self._is_long_idle():
            log.info("engine: idle for %d s, ended to free its memory", self._config.idle_unload_seconds)
            self.models = ()
            handle.retire(RETIRE_GRACE_SECONDS)

    def dead(self, reason: str) -> EngineDead:
        """Return the error that tells of an engine's end."""
        return EngineDead(f"{reason}; see {self._config.runtime_dir / ENGINE_LOG}; it is started again")

    def status(self, num_bytes: int) -> EngineStatus:
        """Say how the engine is."""
        return EngineStatus(self.handle.state, self.handle.pid, self.handle.num_deaths, num_bytes, self.models)

    def _is_long_idle(self) -> bool:
        limit, now = self._config.idle_unload_seconds, monotonic()
        return bool(limit) and now - self._used_at > limit and now > self._keep_until

    def _watch_for_hanging(self) -> None:
        handle, now = self.handle, monotonic()
        if handle.state in ("starting", "busy") and now - handle.heard_at > self._config.engine_stall_seconds:
            handle.kill(f"it has reported nothing for {self._config.engine_stall_seconds} s")
        elif self._stop_asked_at is not None and now - self._stop_asked_at > self._config.engine_cancel_seconds:
            handle.kill(f"it has not stopped a job within {self._config.engine_cancel_seconds} s")

    def _forget_job(self) -> None:
        self._job_id, self._stopping_id, self._stop_asked_at = "", "", None

    def _order_done(self, answer: LoadModelReply | UnloadModelReply | Rejected) -> None:
        assert self._order is not None
        order, self._order = self._order, None
        if self.handle.state == "busy":
            self.handle.task_ended()
        self._used_at = monotonic()
        if not isinstance(answer, Rejected):
            self.models = answer.models
        if isinstance(order.message, LoadModel) and isinstance(answer, LoadModelReply):
            self._keep_until = max(self._keep_until, self._used_at + order.message.keep_alive_seconds)
        self._answer(order.client, order.header, answer)

    def _refuse_orders(self) -> None:
        while self._orders:
            order = self._orders.popleft()
            error = self.dead("the engine does not start")
            self._answer(order.client, order.header, Rejected(error.code, error.message))
