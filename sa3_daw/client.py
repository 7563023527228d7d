"""The Python client: finds or starts a daemon, submits jobs, gives their events back. Needs pyzmq, msgpack, numpy.

A Client belongs to one thread; use one per thread. Knows no model and imports no torch.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import zmq
from numpy.typing import NDArray
from zmq.utils.monitor import recv_monitor_message

from sa3_daw.config import load_config
from sa3_daw.errors import DaemonUnreachable, EngineError, Sa3Error, from_wire
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol.endpoints import DAEMON_LOG, Connection, ensure_private_dir, read_connection, unreachable
from sa3_daw.protocol.framing import Received, decode, encode
from sa3_daw.protocol.messages import (
    TERMINAL,
    Accepted,
    Audio,
    Cancel,
    Cancelled,
    CancelReply,
    Credit,
    Failed,
    Finished,
    Hello,
    HelloReply,
    Message,
    Progress,
    Rejected,
    Shutdown,
    ShutdownReply,
    Status,
    StatusReply,
)

__all__ = [
    "Accepted",
    "AudioChunk",
    "Cancelled",
    "Client",
    "Finished",
    "HelloReply",
    "JobCancelled",
    "JobEvent",
    "JobStream",
    "Progress",
    "Result",
    "Sa3Error",
    "StatusReply",
    "new_job_id",
    "random_seed",
]

JobEvent = Accepted | Progress | AudioChunk | Finished | Cancelled
Reply = TypeVar("Reply", HelloReply, StatusReply, ShutdownReply, CancelReply)

START_TIMEOUT_SECONDS = 20.0
REPLY_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""A daemon with live jobs speaks each second; after this long without a word it is taken for hung."""
GONE_EVENTS = (
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)  # fmt: skip
"""A daemon listens before its connection file appears, so a connection that fails even once has nobody behind it."""
NUM_CREDITS = 16
RETURN_CREDITS = 4
LOG_TAIL_LINES = 15

_started: list[subprocess.Popen[bytes]] = []
"""Daemons this process started, kept so that their exit is collected and none stays behind as a zombie."""


class JobCancelled(Exception):
    """A blocking ``generate`` was cancelled, by the daemon's end or from outside. An outcome, not an error."""


def new_job_id() -> str:
    """Return an id no other job has."""
    return secrets.token_hex(8)


def random_seed() -> int:
    """Return a seed to resolve "any seed" with, small enough to be read out and typed."""
    return secrets.randbelow(2**32)


@dataclass(frozen=True)
class Result:
    """A finished clip: ``samples`` float32 [2, job.num_samples] at the job's rate."""

    samples: NDArray[np.float32]
    job: Job
    finished: Finished


class Client:
    """One connection to a daemon."""

    def __init__(self, connection: Connection) -> None:
        """Connect, without a word yet; ``connect`` is the usual way in."""
        self.connection = connection
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.linger = 500
        self._socket.heartbeat_ivl, self._socket.heartbeat_timeout = 1000, 3000
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(GONE_EVENTS)
        if connection.ipc and zmq.has("ipc"):
            self._socket.connect(connection.ipc)
        else:
            self._socket.curve_serverkey = connection.server_key.encode()
            self._socket.curve_publickey = connection.client_public_key.encode()
            self._socket.curve_secretkey = connection.client_secret_key.encode()
            self._socket.connect(connection.tcp)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._seq = 0
        self._replies: dict[int, Message] = {}
        self._streams: dict[str, deque[Received]] = {}
        self._heard = monotonic()

    @classmethod
    def connect(cls, autostart: bool = True) -> Client:
        """Connect to the user's daemon and greet it; with ``autostart`` start one when none answers.

        Raises DaemonUnreachable, which names the command that starts a daemon.
        """
        directory = load_config().runtime_dir
        try:
            return cls._greeted(read_connection(directory))
        except DaemonUnreachable:
            if not autostart:
                raise
        return cls._start_daemon(directory)

    @classmethod
    def _greeted(cls, connection: Connection) -> Client:
        client = cls(connection)
        try:
            client.hello()
        except BaseException:
            client.close()
            raise
        return client

    @classmethod
    def _start_daemon(cls, directory: Path) -> Client:
        """Start a daemon that outlives this process, and wait until it answers or ends."""
        ensure_private_dir(directory)
        process = _spawn_daemon(directory)
        deadline = monotonic() + START_TIMEOUT_SECONDS
        while monotonic() < deadline:
            ended = process.poll() is not None
            try:
                return cls._greeted(read_connection(directory))
            except DaemonUnreachable:
                # Ended, and no other daemon (started by someone else at the same moment) answers either.
                if ended:
                    break
            sleep(0.02)
        raise unreachable(f"the daemon did not start; the end of {directory / DAEMON_LOG}:\n{_log_tail(directory)}\n")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; jobs still live are cancelled by the daemon."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close()
            self._socket.close()
            self._context.term()

    def hello(self) -> HelloReply:
        """Ask what the daemon is and can do."""
        return self._ask(Hello(f"python {os.getpid()}"), HelloReply)

    def status(self) -> StatusReply:
        """Ask what the daemon is doing."""
        return self._ask(Status(), StatusReply)

    def shutdown(self) -> None:
        """End the daemon. Every live job of every client is cancelled."""
        self._ask(Shutdown(), ShutdownReply)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job of this client; False when it is not live. Its events still end with one terminal event."""
        return self._ask(Cancel(), CancelReply, job_id).live

    def submit(self, job: Job) -> JobStream:
        """Send a job; its events are then read from the stream. Several streams may be open at once."""
        if job.job_id in self._streams:
            raise from_wire("invalid_field", "job_id is in use by another stream", "job_id", job.job_id, "another id")
        self._streams[job.job_id] = deque()
        self._send(job, job.job_id, NUM_CREDITS)
        return JobStream(self, job)

    def generate(self, job: Job, on_event: Callable[[JobEvent], None] | None = None) -> Result:
        """Run a job to its end and return the whole clip.

        ``on_event`` is called with each event, in this thread. An exception in it, or Ctrl-C, cancels the job.
        Raises the job's Sa3Error, or JobCancelled.
        """
        with self.submit(job) as stream:
            samples, num_received = np.empty((2, 0), dtype=np.float32), 0
            for event in stream:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Accepted):
                    samples = np.empty((2, job.num_samples), dtype=np.float32)
                elif isinstance(event, AudioChunk):
                    end = num_received + event.samples.shape[1]
                    if event.start_sample != num_received or end > job.num_samples:
                        raise EngineError(f"audio chunk at {event.start_sample}, expected at {num_received}")
                    samples[:, num_received:end] = event.samples
                    num_received = end
                elif isinstance(event, Cancelled):
                    raise JobCancelled(job.job_id)
                elif isinstance(event, Finished):
                    if num_received != job.num_samples:
                        raise EngineError(f"{num_received} of {job.num_samples} samples arrived")
                    return Result(samples, job, event)
        raise EngineError("the job's events ended without a result")

    def _ask(self, request: Message, wanted: type[Reply], job_id: str = "") -> Reply:
        seq = self._send(request, job_id)
        deadline = monotonic() + REPLY_TIMEOUT_SECONDS
        while seq not in self._replies:
            if not self._pump(deadline - monotonic()):
                raise self._unreachable(f"the daemon did not answer for {REPLY_TIMEOUT_SECONDS:g} s")
        reply = self._replies.pop(seq)
        if isinstance(reply, Rejected):
            raise _error(reply)
        if not isinstance(reply, wanted):
            raise EngineError(f"{type(reply).__name__} came as the answer to {type(request).__name__}")
        return reply

    def _send(self, message: Message, job_id: str = "", credit: int = 0) -> int:
        self._seq += 1
        try:
            self._socket.send_multipart(encode(message, job=job_id, seq=self._seq, credit=credit), zmq.NOBLOCK)
        except zmq.Again as error:
            raise self._unreachable("the daemon takes no messages") from error
        return self._seq

    def _next(self, job_id: str) -> Received:
        """Return the job's next message, waiting for it."""
        queue = self._streams[job_id]
        while not queue:
            silence = monotonic() - self._heard
            if not self._pump(SILENCE_SECONDS - silence):
                raise self._unreachable(f"the daemon has been silent for {SILENCE_SECONDS:g} s")
        return queue.popleft()

    def _pump(self, timeout_seconds: float) -> bool:
        """Wait for messages and file them; False when none came. Raises DaemonUnreachable when the daemon is gone."""
        ready = dict(self._poller.poll(int(max(0.0, timeout_seconds) * 1000)))
        if not ready:
            return False
        if not self._socket.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            refused = "does not answer" if event == zmq.EVENT_CONNECT_RETRIED else "ended the connection"
            raise self._unreachable(f"the daemon {refused}")
        self._heard = monotonic()
        while self._socket.poll(0):
            self._file(decode(self._socket.recv_multipart()))
        return True

    def _file(self, received: Received | None) -> None:
        if received is None:
            return
        job_id, message = received.header.job, received.message
        if isinstance(message, HelloReply | StatusReply | ShutdownReply | CancelReply | Rejected):
            stream = self._streams.get(job_id)
            if isinstance(message, Rejected) and stream is not None:
                stream.append(received)
            self._replies = {received.header.seq: message}
        elif job_id in self._streams:
            self._streams[job_id].append(received)

    def _unreachable(self, reason: str) -> DaemonUnreachable:
        return unreachable(f"{reason} (process {self.connection.pid})")


class JobStream:
    """The events of one job, in order, ending after Finished or Cancelled. Leaving its ``with`` block cancels it."""

    def __init__(self, client: Client, job: Job) -> None:
        self.job = job
        self._client = client
        self._ended = False
        self._owed_credits = 0

    def __iter__(self) -> Iterator[JobEvent]:
        return self

    def __next__(self) -> JobEvent:
        """Return the next event. Raises the job's Sa3Error when it has failed."""
        if self._ended:
            raise StopIteration
        received = self._client._next(self.job.job_id)
        message = received.message
        if isinstance(message, Failed | Rejected):
            self._end()
            raise _error(message)
        if isinstance(message, TERMINAL):
            self._end()
        if isinstance(message, Audio):
            return self._audio(message, received.buffers)
        assert isinstance(message, Accepted | Progress | Finished | Cancelled)
        return message

    def cancel(self) -> None:
        """Ask the daemon to stop the job; go on reading until its last event. May be called often."""
        if not self._ended:
            self._client._send(Cancel(), self.job.job_id)

    def close(self) -> None:
        """Cancel the job if it still lives, and read no more of it."""
        if not self._ended:
            self.cancel()
            self._end()

    def __enter__(self) -> JobStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _audio(self, message: Audio, buffers: tuple[bytes, ...]) -> AudioChunk:
        shape = (message.num_channels, message.num_samples)
        if len(buffers) != 1 or len(buffers[0]) != 4 * shape[0] * shape[1]:
            raise EngineError(f"an audio chunk of shape {shape} has not the bytes for it")
        self._owed_credits += 1
        if self._owed_credits >= RETURN_CREDITS:
            self._client._send(Credit(self._owed_credits), self.job.job_id)
            self._owed_credits = 0
        return AudioChunk(message.start_sample, np.frombuffer(buffers[0], dtype="<f4").reshape(shape))

    def _end(self) -> None:
        self._ended = True
        del self._client._streams[self.job.job_id]


def _error(message: Failed | Rejected) -> Sa3Error:
    return from_wire(message.code, message.message, message.field, message.value, message.allowed)


def _spawn_daemon(directory: Path) -> subprocess.Popen[bytes]:
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    with open(directory / DAEMON_LOG, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sa3_daw", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **options,
        )
    _started.append(process)
    return process


def _log_tail(directory: Path) -> str:
    try:
        lines = (directory / DAEMON_LOG).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(lines[-LOG_TAIL_LINES:])
