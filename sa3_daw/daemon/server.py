"""The daemon's front: one thread, one poll loop over clients, authenticator, engine and signals.

Knows no tensor and imports neither torch nor numpy. What may enter is admission's matter, what runs next the
scheduler's, what goes back delivery's; this file moves messages between them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket as plain_socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic

import zmq

from sa3_daw import __version__
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon import admission
from sa3_daw.daemon.client_sockets import Address, Authenticator, ClientSockets
from sa3_daw.daemon.delivery import Delivery, Frames
from sa3_daw.daemon.engine_handle import EngineHandle
from sa3_daw.daemon.forecast import Forecast
from sa3_daw.daemon.job_checks import JOB_ID
from sa3_daw.daemon.reports import NO_PROGRESS, all_jobs, hello_reply
from sa3_daw.daemon.scheduler import Scheduler, Ticket
from sa3_daw.errors import EngineDead, Sa3Error, Unsupported, invalid
from sa3_daw.job import Job
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.endpoints import (
    ENGINE_LOG,
    Connection,
    DaemonLock,
    IpcDir,
    ensure_private_dir,
    remove_connection,
    write_connection,
)
from sa3_daw.protocol.framing import Received, encode
from sa3_daw.protocol.version import PROTOCOL_VERSION

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 1.0
BUSY_POLL_SECONDS = 0.2
ALIVE_SECONDS = 1.0
STOP_GRACE_SECONDS = 3.0
MAX_HELD_BYTES = 64 << 20
"""A client with more computed audio waiting for its credit than this starts no further job."""


def serve(config: DaemonConfig) -> int:
    """Run a daemon until SIGTERM, SIGINT or a client's ``shutdown``. Raises RequestError when one runs already."""
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ensure_private_dir(config.runtime_dir)
    lock = DaemonLock(config.runtime_dir)
    lock.acquire()
    try:
        with wake_on_signals() as wake:
            Server(config).run(wake)
    finally:
        remove_connection(config.runtime_dir)
        lock.release()
    return 0


@contextmanager
def wake_on_signals() -> Iterator[plain_socket.socket]:
    """Yield a socket that becomes readable on SIGTERM or SIGINT; pollable on every system."""
    reader, writer = plain_socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: writer.send(b"!")) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


class Server:
    """Sockets, and all state of the daemon. Everything happens in the thread that calls ``run``."""

    def __init__(self, config: DaemonConfig) -> None:
        self._config = config
        self._context = zmq.Context()
        self._context.max_sockets = 1023
        self._ipc = IpcDir(config.runtime_dir) if zmq.has("ipc") else None
        self._engine = EngineHandle(config, self._context, self._ipc)
        server_key, client_key = zmq.curve_keypair(), zmq.curve_keypair()
        self._authenticator = Authenticator(
            self._context, {b"client": client_key[0], b"engine": self._engine.client_key}
        )
        self._clients = ClientSockets(self._context, self._ipc, server_key, admission.MAX_FRAME_BYTES)
        self._connection = Connection(
            protocol_version=PROTOCOL_VERSION,
            daemon_version=__version__,
            pid=os.getpid(),
            ipc=self._clients.ipc_endpoint,
            tcp=self._clients.tcp_endpoint,
            server_key=server_key[0].decode("ascii"),
            client_public_key=client_key[0].decode("ascii"),
            client_secret_key=client_key[1].decode("ascii"),
        )
        self._scheduler = Scheduler(config.max_queued_jobs)
        self._deliveries: dict[tuple[Address, str], Delivery] = {}
        self._delivering: dict[tuple[Address, str], Ticket] = {}
        self._forecast = Forecast()
        self._progress = NO_PROGRESS
        self._told_loading: Ticket | None = None
        self._job_started = self._alive_sent = self._started = monotonic()
        self._counts = {msg.Finished: 0, msg.Failed: 0, msg.Cancelled: 0}
        self._stopping = False

    def run(self, wake: plain_socket.socket) -> None:
        """Announce the daemon, serve until told to stop, end cleanly."""
        if self._config.engine_at_start:
            self._engine.start()
        write_connection(self._config.runtime_dir, self._connection)
        log.info("ready: process %d, runtime directory %s", os.getpid(), self._config.runtime_dir)
        try:
            while not self._stopping:
                self._turn(wake)
        finally:
            self._stop()

    def _turn(self, wake: plain_socket.socket) -> None:
        """Wait for something, then move everything one step on."""
        poller = zmq.Poller()
        for socket in (*self._clients.all(), self._authenticator.socket, wake, self._engine.socket):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(int(self._wait_seconds() * 1000)))
        if wake.fileno() in ready:
            log.info("told by a signal to stop")
            self._stopping = True
        self._authenticator.answer()
        for address, frames in self._clients.receive():
            self._receive(address, frames)
        self._hear_engine()
        self._watch_engine()
        self._start_next()
        self._say_alive()

    def _wait_seconds(self) -> float:
        if self._scheduler.running or self._scheduler.num_queued or self._delivering:
            return min(BUSY_POLL_SECONDS, self._engine.wait_seconds or BUSY_POLL_SECONDS)
        return IDLE_POLL_SECONDS

    # Clients

    def _receive(self, address: Address, frames: Sequence[bytes]) -> None:
        """Answer one message of a client; whatever is wrong with it is told to its sender alone."""
        header = msg.Header(PROTOCOL_VERSION)
        try:
            header = admission.read_header(frames)
            request = admission.read_request(frames, header)
            self._handle(address, header, request)
        except Sa3Error as error:
            self._refuse(address, frames, header, error)

    def _handle(self, address: Address, header: msg.Header, request: msg.Message) -> None:
        if isinstance(request, msg.Hello):
            self._reply(address, header, hello_reply(self._config))
        elif isinstance(request, Job):
            self._submit(address, request, header)
        elif isinstance(request, msg.Cancel):
            self._reply(address, header, msg.CancelReply(self._cancel(address, header.job)))
        elif isinstance(request, msg.Credit):
            delivery = self._deliveries.get((address, header.job))
            if delivery is not None:
                self._send_events(address, header.job, delivery.grant(request.num_chunks))
        elif isinstance(request, msg.Status):
            self._reply(address, header, self._status_reply())
        elif isinstance(request, msg.Shutdown):
            log.info("told by a client to stop")
            self._reply(address, header, msg.ShutdownReply())
            self._stopping = True
        else:
            raise Unsupported(f"{msg.KIND_OF[type(request)]} is not served yet")

    def _submit(self, address: Address, job: Job, header: msg.Header) -> None:
        key = (address, job.job_id)
        job = admission.admit(job, self._config, lambda _: 0, ())
        ticket = Ticket(address, job)
        if key in self._deliveries:
            raise invalid("job_id", job.job_id, "an id that none of your live jobs has")
        self._scheduler.submit(ticket)
        self._deliveries[key] = Delivery(job.job_id, header.credit, admission.MAX_CREDIT)
        accepted = admission.accepted(job, self._config, self._scheduler.position(ticket), self._eta_seconds(ticket))
        log.info("job %s accepted: %d samples at %d Hz", job.job_id, job.num_samples, job.sample_rate)
        self._emit(ticket, accepted)
        if self._engine.policy.hopeless and self._engine.wait_seconds:
            self._fail_waiting()

    def _cancel(self, address: Address, job_id: str) -> bool:
        """Cancel a client's job wherever it is; False when it has no such live job."""
        key = (address, job_id)
        if key in self._delivering:
            self._emit(self._delivering.pop(key), msg.Cancelled())
            return True
        ticket = self._scheduler.find(address, job_id)
        if ticket is None:
            return False
        if ticket is self._scheduler.running:
            self._engine.cancel(job_id)
        else:
            self._scheduler.remove(ticket)
            self._emit(ticket, msg.Cancelled())
        return True

    def _refuse(self, address: Address, frames: Sequence[bytes], header: msg.Header, error: Sa3Error) -> None:
        """Say what is wrong: ``failed`` when a job of that id could have started, else ``rejected``."""
        log.info("refused: %s", error.message)
        content = (error.code, error.message, error.field, error.value, error.allowed)
        job = header.job if JOB_ID.fullmatch(header.job) else ""
        starts_job = bool(frames) and frames[0] == b"generate" and job and (address, job) not in self._deliveries
        if starts_job:
            self._clients.send(address, encode(msg.Failed(*content), job=job))
            self._counts[msg.Failed] += 1
        else:
            self._clients.send(address, encode(msg.Rejected(*content), job=job, seq=header.seq))

    def _client_gone(self, address: Address) -> None:
        """Cancel everything of a client that no longer takes messages."""
        for key in [key for key in self._deliveries if key[0] == address]:
            del self._deliveries[key]
            self._delivering.pop(key, None)
        for ticket in self._scheduler.jobs_of(address):
            log.info("job %s cancelled: its client is gone", ticket.job.job_id)
            self._counts[msg.Cancelled] += 1
            if ticket is self._scheduler.running:
                self._engine.cancel(ticket.job.job_id)
            else:
                self._scheduler.remove(ticket)

    def _reply(self, address: Address, header: msg.Header, message: msg.Message) -> None:
        self._clients.send(address, encode(message, job=header.job, seq=header.seq))

    def _emit(self, ticket: Ticket, message: msg.Message, buffer: bytes | None = None) -> None:
        """Pass one event of a job to its client, as far as credit allows; nothing when the client is gone."""
        key = (ticket.client, ticket.job.job_id)
        delivery = self._deliveries.get(key)
        if delivery is None:
            return
        if type(message) in self._counts:
            self._counts[type(message)] += 1
        frames = delivery.offer(message, buffer)
        if isinstance(message, msg.Finished) and not delivery.ended:
            self._delivering[key] = ticket
        self._send_events(ticket.client, ticket.job.job_id, frames)

    def _send_events(self, address: Address, job_id: str, events: list[Frames]) -> None:
        if not all(self._clients.send(address, frames) for frames in events):
            self._client_gone(address)
            return
        key = (address, job_id)
        if self._deliveries[key].ended:
            del self._deliveries[key]
            self._delivering.pop(key, None)

    def _say_alive(self) -> None:
        """Once a second tell every client with live jobs that the daemon lives, and so learn who is gone."""
        if monotonic() - self._alive_sent < ALIVE_SECONDS:
            return
        self._alive_sent = monotonic()
        for address in {address for address, _ in self._deliveries}:
            if not self._clients.send(address, encode(msg.Alive())):
                self._client_gone(address)

    # Engine

    def _start_next(self) -> None:
        """Give the engine its next job, or start an engine when a job needs one."""
        if self._scheduler.running is not None or not self._scheduler.num_queued:
            return
        if self._engine.state == "stopped" and not self._engine.wait_seconds:
            self._engine.start()
        if self._engine.state != "idle":
            self._announce_loading()
            return
        ticket = self._scheduler.start_next(self._may_start)
        if ticket is not None:
            self._progress = NO_PROGRESS
            self._job_started = monotonic()
            self._engine.run(ticket.job)

    def _announce_loading(self) -> None:
        """Tell the first in the queue, once, that the engine is being made ready."""
        first = next(self._scheduler.queued_in_order())
        if first is not self._told_loading:
            self._told_loading = first
            self._emit(first, msg.Progress("loading", 0, 1))

    def _may_start(self, client: Address) -> bool:
        held = sum(delivery.held_bytes for (address, _), delivery in self._deliveries.items() if address == client)
        return held <= MAX_HELD_BYTES

    def _hear_engine(self) -> None:
        for received in self._engine.receive():
            ticket = self._scheduler.running
            if ticket is None or received.header.job != ticket.job.job_id:
                log.warning("engine: message about job %r, which does not run", received.header.job)
                continue
            self._engine_event(ticket, received)

    def _engine_event(self, ticket: Ticket, received: Received) -> None:
        message = received.message
        if isinstance(message, msg.Progress):
            self._progress = message
            message = replace(message, eta_seconds=self._eta_seconds(ticket))
        if isinstance(message, msg.Made):
            message = msg.Take("", "", message.made, "nothing is stored yet")
        if isinstance(message, msg.TERMINAL):
            self._engine.job_ended()
            self._scheduler.end_running()
            log.info("job %s: %s", ticket.job.job_id, msg.KIND_OF[type(message)])
        if isinstance(message, msg.Finished):
            self._engine.policy.finished_a_job()
            self._forecast.observe(ticket.job, sum(message.timings_seconds.values()))
        self._emit(ticket, message, received.buffers[0] if received.buffers else None)

    def _watch_engine(self) -> None:
        """Notice an engine that ended: its job fails, the queue stays, another engine is started."""
        if not self._engine.died():
            self._restart_engine()
            return
        ticket = self._scheduler.running
        if ticket is not None:
            self._scheduler.end_running()
            self._emit(ticket, self._engine_dead(f"the engine ended while job {ticket.job.job_id} ran"))
        if self._engine.policy.hopeless:
            self._fail_waiting()
        self._restart_engine()

    def _restart_engine(self) -> None:
        wanted = self._engine.num_deaths and not self._engine.policy.hopeless
        if wanted and self._engine.state == "stopped" and not self._engine.wait_seconds:
            self._engine.start()

    def _fail_waiting(self) -> None:
        """Engines do not start: tell the waiting jobs. A job that comes after the back-off makes one more attempt."""
        for ticket in list(self._scheduler.queued_in_order()):
            self._scheduler.remove(ticket)
            self._emit(ticket, self._engine_dead("the engine does not start"))

    def _engine_dead(self, reason: str) -> msg.Failed:
        hint = f"see {self._config.runtime_dir / ENGINE_LOG}; it is started again"
        return msg.Failed(EngineDead.code, f"{reason}; {hint}")

    def _eta_seconds(self, ticket: Ticket) -> float | None:
        """Expected seconds until a queued or the running job is finished, or None before anything is known."""
        running = self._scheduler.running
        jobs = [running] if running is not None else []
        if ticket is not running:
            jobs += self._scheduler.queued_in_order()
        ahead = jobs[: jobs.index(ticket) + 1]
        spent_seconds = monotonic() - self._job_started if running is not None else 0.0
        return self._forecast.eta_seconds([each.job for each in ahead], spent_seconds)

    def _status_reply(self) -> msg.StatusReply:
        finished, failed, cancelled = (self._counts[end] for end in (msg.Finished, msg.Failed, msg.Cancelled))
        return msg.StatusReply(
            pid=os.getpid(),
            uptime_seconds=round(monotonic() - self._started, 3),
            num_finished=finished,
            num_failed=failed,
            num_cancelled=cancelled,
            engine=msg.EngineStatus(self._engine.state, self._engine.pid, self._engine.num_deaths),
            jobs=all_jobs(self._scheduler, self._progress, list(self._delivering.values())),
            num_bytes=0,
            store=msg.StoreStatus(0, 0, 0, "nothing is stored yet"),
            stages=(),
            ended=(),
        )

    def _stop(self) -> None:
        """Tell every client, end the engine, free every name."""
        remove_connection(self._config.runtime_dir)
        for address, job_id in list(self._deliveries):
            delivery = self._deliveries.pop((address, job_id))
            for frames in delivery.offer(msg.Cancelled()):
                self._clients.send(address, frames)
        self._engine.stop(STOP_GRACE_SECONDS)
        self._clients.close()
        self._authenticator.socket.close()
        with suppress(zmq.ZMQError):
            self._context.term()
        if self._ipc is not None:
            self._ipc.close()
        log.info("ended")
