"""The client: starting daemons, what it says when it cannot, threads, and who is let in over TCP."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from sa3_daw.client import Client, Result
from sa3_daw.errors import DaemonUnreachable
from sa3_daw.protocol.endpoints import CONNECTION_FILE, read_connection
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.messages import Hello
from tests import fake_engine
from tests.running_daemon import PATIENCE_SECONDS, ROOT, RunningDaemon, a_job, environment

NOTHING_MS = 1500
"""How long a stranger waits for an answer that must not come; the right key gets one within a few ms."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make ``Client.connect`` look into a runtime directory of the test's own; end every daemon it started."""
    directory = tmp_path / "run"
    for key in [key for key in os.environ if key.startswith("SA3_")]:
        monkeypatch.delenv(key)
    for key, text in environment(directory).items():
        monkeypatch.setenv(key, text)
    started: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr("sa3_daw.client_link._started", started)
    yield directory
    for process in started:
        process.terminate()
    for process in started:
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("client") / "run") as running:
        running.engine_pid()
        yield running


def test_connect_starts_a_daemon_that_the_next_client_finds(home: Path) -> None:
    with Client.connect() as first:
        pid = first.hello().pid
        with Client.connect() as second:
            assert second.hello().pid == pid
            assert second.generate(a_job()).finished.num_samples == 8192
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / CONNECTION_FILE).stat().st_mode) == 0o600
        first.shutdown()


def test_clients_that_start_at_the_same_moment_share_one_daemon(home: Path) -> None:
    pids: list[int] = []

    def connect() -> None:
        with Client.connect() as client:
            pids.append(client.hello().pid)

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(pids) == 3 and len(set(pids)) == 1


def test_without_autostart_the_error_is_the_command_to_run(home: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="sa3-daw serve"):
        Client.connect(autostart=False)
    assert not home.exists()


def test_a_daemon_that_cannot_start_shows_the_end_of_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SA3_MAX_QUEUED_JOBS", "7")
    home.mkdir(mode=0o700)
    (home / "daemon.lock").mkdir()
    with pytest.raises(DaemonUnreachable, match=r"daemon\.log:\n(.*\n)+"):
        Client.connect()


def test_a_stale_connection_file_is_replaced(home: Path) -> None:
    killed = RunningDaemon(home)
    killed.process.kill()
    killed.process.wait(PATIENCE_SECONDS)
    assert (home / CONNECTION_FILE).exists()
    with Client.connect() as client:
        assert client.hello().pid != killed.process.pid
        client.shutdown()


def test_a_connection_with_nobody_behind_it_is_noticed_at_once(daemon: RunningDaemon, tmp_path: Path) -> None:
    nobody = replace(daemon.connection, ipc=f"ipc://{tmp_path / 'nobody'}")
    with Client(nobody) as client, pytest.raises(DaemonUnreachable, match="does not answer"):
        client.hello()


def test_each_thread_with_its_own_client_gets_its_own_clip(daemon: RunningDaemon) -> None:
    results: dict[int, Result] = {}

    def generate(seed: int) -> None:
        with daemon.client() as client:
            results[seed] = client.generate(replace(a_job("chunk=1000"), seed=seed))

    threads = [threading.Thread(target=generate, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(results) == list(range(6))
    assert all(np.array_equal(result.samples, fake_engine.tone(result.job)) for result in results.values())


def test_a_long_clip_arrives_whole_through_the_credit_window(daemon: RunningDaemon) -> None:
    job = a_job("chunk=480", num_samples=480 * 300)
    with daemon.client() as client:
        assert np.array_equal(client.generate(job).samples, fake_engine.tone(job))


def answer_over_tcp(daemon: RunningDaemon, keys: tuple[bytes, bytes] | None, server_key: str) -> bool:
    """Say hello over TCP with the given keys (None: without CURVE); tell whether anything came back."""
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.linger = 0
    if keys is not None:
        socket.curve_serverkey = server_key.encode()
        socket.curve_publickey, socket.curve_secretkey = keys
    socket.connect(daemon.connection.tcp)
    socket.send_multipart(encode(Hello()))
    answered = bool(socket.poll(NOTHING_MS))
    socket.close()
    context.term()
    return answered


def test_over_tcp_only_the_connection_files_key_is_let_in(daemon: RunningDaemon) -> None:
    known = daemon.connection
    right = (known.client_public_key.encode(), known.client_secret_key.encode())
    assert answer_over_tcp(daemon, right, known.server_key)
    assert not answer_over_tcp(daemon, zmq.curve_keypair(), known.server_key)
    assert not answer_over_tcp(daemon, None, known.server_key)
    assert not answer_over_tcp(daemon, right, zmq.curve_keypair()[0].decode())
    with daemon.client() as client:
        assert client.hello().pid == daemon.process.pid


def test_a_wrong_key_is_told_apart_from_a_slow_daemon(daemon: RunningDaemon) -> None:
    public, secret = zmq.curve_keypair()
    wrong = replace(daemon.connection, ipc="", client_public_key=public.decode(), client_secret_key=secret.decode())
    with Client(wrong) as client, pytest.raises(DaemonUnreachable):
        client.hello()


def test_a_very_long_runtime_directory_works(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / ("d" * 120) / "run") as daemon, daemon.client() as client:
        assert client.generate(a_job()).finished.num_samples == 8192
        ipc_dir = Path(read_connection(daemon.runtime_dir).ipc.removeprefix("ipc://")).parent
    assert not ipc_dir.exists()


def test_the_client_needs_only_zeromq_msgpack_and_numpy() -> None:
    code = "import sys, sa3_daw.client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"torch", "msgspec", "soxr", "soundfile", "rich", "einops"}
