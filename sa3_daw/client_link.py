"""The client's end of the wire: one DEALER, requests and their replies, messages filed by job. Knows no audio.

Belongs to one thread.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from sa3_daw.errors import DaemonUnreachable, EngineError, Sa3Error, from_wire
from sa3_daw.protocol.endpoints import DAEMON_LOG, Connection, ensure_private_dir, unreachable
from sa3_daw.protocol.framing import Received, decode, encode
from sa3_daw.protocol.messages import (
    Accepted,
    Audio,
    Cancelled,
    Failed,
    Finished,
    Message,
    Progress,
    Rejected,
    Take,
)

Reply = TypeVar("Reply")

REPLY_TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""A daemon with live jobs speaks each second; after this long without a word it is taken for hung."""
GONE_EVENTS = (
    zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)  # fmt: skip
"""A daemon listens before its connection file appears, so a connection that fails even once has nobody behind it."""
LOG_TAIL_LINES = 15
MAX_LOG_BYTES = 4 << 20
JOB_EVENTS = (Accepted, Progress, Audio, Take, Finished, Failed, Cancelled)

_started: list[subprocess.Popen[bytes]] = []
"""Daemons this process started, kept so that their exit is collected and none stays behind as a zombie."""


class ClientLink:
    """One connection to a daemon."""

    def __init__(self, connection: Connection) -> None:
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
        self._replies: dict[int, Received | None] = {}
        self._jobs: dict[str, tuple[int, deque[Received]]] = {}
        self._heard = monotonic()
        """When the daemon last spoke, or was last asked something."""

    def close(self) -> None:
        """Disconnect."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close()
            self._socket.close()
            self._context.term()

    def send(self, message: Message, job_id: str = "", credit: int = 0, buffer: bytes | None = None) -> int:
        """Send one message and return its number."""
        self._seq += 1
        frames = encode(message, job=job_id, seq=self._seq, credit=credit, buffer=buffer)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again as error:
            raise self._unreachable("the daemon takes no messages") from error
        return self._seq

    def request(self, message: Message, job_id: str = "", buffer: bytes | None = None) -> int:
        """Send a message whose reply is then awaited under the number that is returned."""
        seq = self.send(message, job_id, buffer=buffer)
        self._replies[seq] = None
        self._heard = monotonic()
        return seq

    def reply(self, seq: int, wanted: type[Reply], *, while_alive: bool = False) -> tuple[Reply, tuple[bytes, ...]]:
        """Wait for the reply to a request. Raises the error that a ``rejected`` carries.

        With ``while_alive`` it may take as long as the daemon shows signs of life.
        """
        patience_seconds = SILENCE_SECONDS if while_alive else REPLY_TIMEOUT_SECONDS
        asked = monotonic()
        while (received := self._replies[seq]) is None:
            since = self._heard if while_alive else asked
            if not self._pump(since + patience_seconds - monotonic()):
                del self._replies[seq]
                raise self._unreachable(f"the daemon did not answer for {patience_seconds:g} s or more")
        del self._replies[seq]
        if isinstance(received.message, Rejected):
            raise wire_error(received.message)
        if not isinstance(received.message, wanted):
            raise EngineError(f"{type(received.message).__name__} came where {wanted.__name__} was wanted")
        return received.message, received.buffers

    def forget_replies(self, seqs: Iterable[int]) -> None:
        """Wait no more for the replies to these requests; those that still come are dropped."""
        for seq in seqs:
            self._replies.pop(seq, None)

    def ask(self, message: Message, wanted: type[Reply], job_id: str = "") -> Reply:
        """Send a request and wait for its reply."""
        return self.reply(self.request(message, job_id), wanted)[0]

    def open_job(self, message: Message, job_id: str, credit: int) -> None:
        """Send a job; its messages are filed from now on."""
        if job_id in self._jobs:
            raise from_wire("invalid_field", "job_id is in use by another stream", "job_id", job_id, "another id")
        self._jobs[job_id] = self.send(message, job_id, credit), deque()
        self._heard = monotonic()

    def close_job(self, job_id: str) -> None:
        """Drop what is filed, and what still comes, for a job."""
        del self._jobs[job_id]

    def next_of_job(self, job_id: str) -> Received:
        """Return the job's next message, waiting for it."""
        _, filed = self._jobs[job_id]
        while not filed:
            if not self._pump(self._heard + SILENCE_SECONDS - monotonic()):
                raise self._unreachable(f"the daemon has been silent for {SILENCE_SECONDS:g} s")
        return filed.popleft()

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
        seq, job_id = received.header.seq, received.header.job
        submitted, filed = self._jobs.get(job_id, (0, None))
        is_event = isinstance(received.message, JOB_EVENTS)
        refused_job = isinstance(received.message, Rejected) and seq == submitted
        if filed is not None and (is_event or refused_job):
            filed.append(received)
        elif not is_event and seq in self._replies:
            self._replies[seq] = received

    def _unreachable(self, reason: str) -> DaemonUnreachable:
        return unreachable(f"{reason} (process {self.connection.pid})")


def wire_error(message: Failed | Rejected) -> Sa3Error:
    """Return the error that a message carries."""
    return from_wire(message.code, message.message, message.field, message.value, message.allowed)


def spawn_daemon(directory: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that outlives this process; its output goes to the log in its runtime directory."""
    ensure_private_dir(directory)
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    log_file = directory / DAEMON_LOG
    if log_file.is_file() and log_file.stat().st_size > MAX_LOG_BYTES:
        log_file.replace(log_file.with_suffix(".old.log"))
    with open(log_file, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sa3_daw", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **options,
        )
    _started.append(process)
    return process


def log_tail(directory: Path) -> str:
    """Return the last lines that the daemon of a runtime directory wrote."""
    try:
        lines = (directory / DAEMON_LOG).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(lines[-LOG_TAIL_LINES:])
