"""A daemon in its own process, with the fake engine, for tests over real sockets. Knows no model."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import zmq

from sa3_daw.client import Client, new_job_id
from sa3_daw.errors import DaemonUnreachable
from sa3_daw.job import Job, TempoPoint
from sa3_daw.protocol.endpoints import Connection, read_connection
from sa3_daw.protocol.framing import Received, decode, encode
from sa3_daw.protocol.messages import Message

ROOT = Path(__file__).resolve().parent.parent
FAKE_ENGINE = (sys.executable, str(ROOT / "tests" / "fake_engine.py"))
PATIENCE_SECONDS = 120.0
"""How long anything may take on a busy machine before a test gives up; what is measured has limits of its own."""


def data_dir(runtime_dir: Path) -> Path:
    """Return where the daemon of a runtime directory keeps its takes: beside it."""
    return runtime_dir.with_name(f"{runtime_dir.name}.data")


def environment(runtime_dir: Path, **more: str) -> dict[str, str]:
    """Return this process's environment for a daemon of its own, which no file of the user's configures."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("SA3_")}
    ours = {
        "SA3_RUNTIME_DIR": str(runtime_dir),
        "SA3_DATA_DIR": str(data_dir(runtime_dir)),
        "SA3_MODELS_DIR": str(runtime_dir / "models"),
        "SA3_ENGINE_COMMAND": shlex.join(FAKE_ENGINE),
        "XDG_CONFIG_HOME": str(runtime_dir / "config"),
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **ours, **more}


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Look again and again until the condition holds; fail by name when it does not."""
    deadline, pause = monotonic() + PATIENCE_SECONDS, threading.Event()
    while not condition():
        assert monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS:g} s"
        pause.wait(0.01)


class Raw:
    """A bare DEALER, for what no well-behaved client sends."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = int(PATIENCE_SECONDS * 1000)
        self.socket.connect(endpoint)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._context.term()

    def send(self, message: Message, job: str = "", seq: int = 0, credit: int = 0) -> None:
        self.socket.send_multipart(encode(message, job=job, seq=seq, credit=credit))

    def next(self) -> Received:
        """Return the next message that is not the daemon's sign of life."""
        while True:
            frames = self.socket.recv_multipart()
            if frames[0] != b"alive":
                received = decode(frames)
                assert received is not None
                return received

    def until(self, *wanted: type[Message]) -> Received:
        while not isinstance((received := self.next()).message, wanted):
            pass
        return received

    def ask_after_nonsense(self, frames: list[bytes]) -> tuple[Received, float]:
        """Send any frames; return the answer and the seconds it took."""
        started = monotonic()
        self.socket.send_multipart(frames)
        return self.next(), monotonic() - started


class RunningDaemon:
    """One daemon process; ``with`` ends it."""

    def __init__(self, runtime_dir: Path, **env: str) -> None:
        self.runtime_dir = runtime_dir
        self.log_file = runtime_dir.with_name(f"{runtime_dir.name}.log")
        runtime_dir.parent.mkdir(parents=True, exist_ok=True)
        started = monotonic()
        with open(self.log_file, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sa3_daw", "serve"],
                env=environment(runtime_dir, **env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_for("connection file", lambda: self.connected() or self.process.poll() is not None)
        self.ready_seconds = monotonic() - started
        assert self.process.poll() is None, self.log_file.read_text()

    def connected(self) -> bool:
        try:
            return read_connection(self.runtime_dir).pid == self.process.pid
        except DaemonUnreachable:
            return False

    @property
    def connection(self) -> Connection:
        return read_connection(self.runtime_dir)

    def client(self) -> Client:
        client = Client(self.connection)
        client.hello()
        return client

    def raw(self) -> Raw:
        return Raw(self.connection.ipc)

    def engine_pid(self) -> int:
        """Wait for an engine that is ready and return its process id."""
        with self.client() as client:
            wait_for("engine ready", lambda: client.status().engine.state in ("idle", "busy"))
            return client.status().engine.pid

    def end(self) -> int:
        """Stop by SIGTERM (already dead is fine) and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def __enter__(self) -> RunningDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def a_job(prompt: str = "", num_samples: int = 8192, sample_rate: int = 48000, job_id: str = "") -> Job:
    return Job(
        job_id=job_id or new_job_id(),
        prompt=prompt,
        num_samples=num_samples,
        sample_rate=sample_rate,
        seed=7,
        tempo_map=(TempoPoint(0.0, 120.0),),
    )


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended but was not collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
