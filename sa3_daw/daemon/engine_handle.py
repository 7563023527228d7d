"""The engine's process and the link to it: start, watch, talk, end. Knows no client and no queue.

Owned by the daemon's one thread. The link is a socket of its own per engine process, so nothing meant for
a dead engine reaches the next. Secrets go through the child's standard input, which the engine also watches:
when it closes, the daemon is gone.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import zmq

from sa3_daw.config import DaemonConfig, plain_config
from sa3_daw.errors import Sa3Error
from sa3_daw.job import Job
from sa3_daw.protocol.endpoints import ENGINE_LOG, IpcDir
from sa3_daw.protocol.framing import Received, decode, encode
from sa3_daw.protocol.messages import Cancel, LoadModel, Message, Ready, Shutdown, UnloadModel

log = logging.getLogger(__name__)

CREATE_NO_WINDOW = 0x08000000 if sys.platform == "win32" else 0
MAX_LOG_BYTES = 4 << 20
RECEIVE_QUEUE_MESSAGES = 32
"""Held here while the disk is slow; the rest waits in the engine, so that audio never fills the front's memory."""
MESSAGES_PER_TURN = 32
"""Taken from the engine before clients get their turn."""
FIRST_DELAYS_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_DELAY_SECONDS = 30.0
HOPELESS_STARTS = 3
"""Engines that ended in a row before they were ready: from then on waiting jobs are told instead of kept waiting."""


class RestartPolicy:
    """How long to wait before the next engine: not at all after one death, longer and longer while they go on."""

    def __init__(self) -> None:
        self._deaths_in_row = 0
        self._unready_in_row = 0

    def died(self, *, was_ready: bool) -> None:
        """An engine ended unasked."""
        self._deaths_in_row += 1
        self._unready_in_row = 0 if was_ready else self._unready_in_row + 1

    def finished_a_job(self) -> None:
        """The engine proved itself."""
        self._deaths_in_row = self._unready_in_row = 0

    @property
    def delay_seconds(self) -> float:
        """Seconds to wait after the latest death."""
        delays = FIRST_DELAYS_SECONDS
        index = max(0, self._deaths_in_row - 1)
        return delays[index] if index < len(delays) else LONGEST_DELAY_SECONDS

    @property
    def hopeless(self) -> bool:
        """True when engines do not even start."""
        return self._unready_in_row >= HOPELESS_STARTS


class EngineHandle:
    """At most one engine process. ``state`` is stopped, starting, idle, busy or stopping."""

    def __init__(self, config: DaemonConfig, context: zmq.Context[Any], ipc: IpcDir | None) -> None:
        """``ipc`` None means loopback TCP with CURVE; the context's authenticator then has to know ``client_key``."""
        self._config = config
        self._context = context
        self._ipc = ipc
        self._keys = {"server": zmq.curve_keypair(), "client": zmq.curve_keypair()} if ipc is None else {}
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before_seconds = 0.0
        self._num_started = 0
        self._start_failed = False
        self._kill_reason = ""
        self._stop_deadline = 0.0
        self.socket: zmq.Socket[bytes] | None = None
        self.state = "stopped"
        self.num_deaths = 0
        self.heard_at = 0.0
        """When the engine last said something, or was last given something to do."""
        self.policy = RestartPolicy()

    @property
    def client_key(self) -> bytes:
        """Public key that the engine's side of the link has; empty over ipc."""
        return self._keys["client"][0] if self._keys else b""

    @property
    def pid(self) -> int:
        """The engine's process id, 0 when there is none."""
        return self._process.pid if self._process else 0

    @property
    def wait_seconds(self) -> float:
        """Seconds until an engine may be started."""
        return max(0.0, self._not_before_seconds - monotonic())

    def start(self) -> None:
        """Start an engine process; ``ready`` arrives on the link when it takes jobs."""
        if self._start_failed:
            return  # ``death`` tells of that first.
        assert self._process is None
        self._num_started += 1
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 0
        self.socket.rcvhwm = RECEIVE_QUEUE_MESSAGES
        endpoint = self._bind(self.socket)
        settings = {"endpoint": endpoint, "config": plain_config(self._config), "parent_pid": os.getpid()}
        if self._keys:
            settings |= {
                "server_key": self._keys["server"][0].decode("ascii"),
                "public_key": self._keys["client"][0].decode("ascii"),
                "secret_key": self._keys["client"][1].decode("ascii"),
            }
        try:
            self._process = _spawn(self._config)
            assert self._process.stdin
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            log.error("engine: cannot start %s: %s", self._config.engine_command[0], error)
            self._start_failed = True
            return
        self.state = "starting"
        self.heard_at = monotonic()
        log.info("engine: process %d starting", self._process.pid)

    def death(self) -> str:
        """Look at the process; once after it has ended unasked, or could not be started at all, say how."""
        if self._start_failed:
            self._start_failed = False
            self._ended(was_ready=False)
            return "the engine could not be started"
        if self.state == "stopping":
            self._watch_stopping()
            return ""
        if self._process is None or self._process.poll() is None:
            return ""
        log.error("engine: process %d ended unasked with code %s", self._process.pid, self._process.returncode)
        reason = self._kill_reason or "the engine ended"
        self._ended(was_ready=self.state != "starting")
        return reason

    def kill(self, reason: str) -> None:
        """End a process that hangs; ``death`` will tell the reason."""
        if self._process is not None and not self._kill_reason:
            log.error("engine: process %d killed: %s", self._process.pid, reason)
            self._kill_reason = f"the engine was ended because {reason}"
            self._process.kill()

    def retire(self, grace_seconds: float) -> None:
        """Ask the idle engine to end, without waiting for it: its memory goes back to the system."""
        assert self.state == "idle"
        self._send(Shutdown(), "")
        self.state = "stopping"
        self._stop_deadline = monotonic() + grace_seconds

    def receive(self) -> Iterator[Received]:
        """Yield the messages that have arrived; ``ready`` only changes the state."""
        for _ in range(MESSAGES_PER_TURN):
            if self.socket is None or not self.socket.poll(0):
                return
            try:
                received = decode(self.socket.recv_multipart())
            except Sa3Error as error:
                log.error("engine: unreadable message ignored: %s", error)
                continue
            if received is None:
                continue
            self.heard_at = monotonic()
            if isinstance(received.message, Ready):
                self.state = "idle"
                log.info("engine: process %d ready", received.message.pid)
            else:
                yield received

    def give(self, task: Job | LoadModel | UnloadModel) -> None:
        """Give the idle engine something to do."""
        assert self.state == "idle"
        self.state = "busy"
        self.heard_at = monotonic()
        self._send(task, task.job_id if isinstance(task, Job) else "")

    def tell(self, message: Message) -> None:
        """Tell the idle engine something that it does not answer."""
        assert self.state == "idle"
        self._send(message, "")

    def cancel(self, job_id: str) -> None:
        """Ask the engine to stop a job; it answers with the job's last event."""
        self._send(Cancel(), job_id)

    def task_ended(self) -> None:
        """The last word on what it was given has come. One that was killed takes nothing more, though it says so."""
        if not self._kill_reason:
            self.state = "idle"

    def stop(self, grace_seconds: float) -> None:
        """End the engine: ask, wait ``grace_seconds``, then kill."""
        if self._process is not None:
            self._send(Shutdown(), "")
            try:
                self._process.wait(0 if self.state == "starting" else grace_seconds)
            except subprocess.TimeoutExpired:
                log.warning("engine: process %d does not end; killed", self._process.pid)
                self._process.kill()
                self._process.wait()
        self._close()

    def _send(self, message: Message, job_id: str) -> None:
        assert self.socket
        try:
            self.socket.send_multipart(encode(message, job=job_id), zmq.NOBLOCK)
        except zmq.Again:
            # Nobody is connected: the process has not come that far, or has just ended, which ``died`` will tell.
            log.info("engine: not there to be told %s", type(message).__name__)

    def _bind(self, socket: zmq.Socket[bytes]) -> str:
        if self._ipc is not None:
            endpoint = self._ipc.endpoint(f"engine-{self._num_started}.sock")
            socket.bind(endpoint)
            return endpoint
        socket.curve_server = True
        socket.zap_domain = b"engine"
        socket.curve_publickey, socket.curve_secretkey = self._keys["server"]
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

    def _ended(self, *, was_ready: bool) -> None:
        self.num_deaths += 1
        self.policy.died(was_ready=was_ready)
        self._not_before_seconds = monotonic() + self.policy.delay_seconds
        self._close()

    def _watch_stopping(self) -> None:
        """Close once the process has ended; kill it when it takes too long."""
        assert self._process is not None
        if self._process.poll() is not None:
            log.info("engine: process %d has ended as asked", self._process.pid)
            self._close()
        elif monotonic() > self._stop_deadline:
            self._process.kill()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # It still holds the settings that an engine which ended at once never read.
                self._process.stdin.close()
        if self.socket is not None:
            self.socket.close()
        self._process = self.socket = None
        self._kill_reason = ""
        self.state = "stopped"


def _spawn(config: DaemonConfig) -> subprocess.Popen[bytes]:
    """Start the engine's command in a session of its own, so that Ctrl-C reaches the daemon alone."""
    with open(_log_file(config.runtime_dir), "ab") as output:
        return subprocess.Popen(
            config.engine_command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            creationflags=CREATE_NO_WINDOW,
        )


def _log_file(directory: Path) -> Path:
    """Return the engine's log; a file, because a pipe nobody reads would block the engine at 64 KiB."""
    path = directory / ENGINE_LOG
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        os.replace(path, path.with_suffix(".old.log"))
    return path
