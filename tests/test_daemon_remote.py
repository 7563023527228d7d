"""Listening for other machines: only with keys that are allowed, under a server key that stays the same."""

from __future__ import annotations

import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from sa3_daw.client import Client
from sa3_daw.config import load_config
from sa3_daw.daemon.remote import KEY_FILE, server_keys
from sa3_daw.errors import DaemonUnreachable, InvalidField, RequestError
from tests.running_daemon import PATIENCE_SECONDS, RunningDaemon, a_job, data_dir, environment


@pytest.fixture
def listen() -> str:
    """Return an endpoint on a port that nobody uses."""
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    socket.close(0)
    context.term()
    return f"tcp://127.0.0.1:{port}"


def remote(daemon: RunningDaemon, listen: str, keys: tuple[bytes, bytes]) -> Client:
    public, secret = (key.decode("ascii") for key in keys)
    there = replace(daemon.connection, ipc="", tcp=listen, client_public_key=public, client_secret_key=secret)
    return Client(there)


def test_allowed_keys_come_in_and_no_other(tmp_path: Path, listen: str) -> None:
    one, other, stranger = (zmq.curve_keypair() for _ in range(3))
    allowed = f"{one[0].decode()} {other[0].decode()}"
    with RunningDaemon(tmp_path / "run", SA3_LISTEN=listen, SA3_ALLOWED_CLIENTS=quoted(allowed)) as daemon:
        for keys in (one, other):
            with remote(daemon, listen, keys) as client:
                assert client.generate(a_job()).finished.num_samples == 8192
        local = daemon.connection
        for keys in (stranger, (local.client_public_key.encode(), local.client_secret_key.encode())):
            with remote(daemon, listen, keys) as client, pytest.raises(DaemonUnreachable):
                client.hello()
        with remote(daemon, local.tcp, one) as client, pytest.raises(DaemonUnreachable):
            client.hello()
        with daemon.client() as client:
            assert client.hello().pid == daemon.process.pid


def quoted(keys: str) -> str:
    """Quote keys, which may hold any sign of Z85, the way a shell reads a list."""
    return " ".join(f"'{key}'" for key in keys.split())


def test_the_server_key_stays_the_same_and_is_private(tmp_path: Path) -> None:
    config = load_config(
        {"data_dir": tmp_path, "listen": "tcp://127.0.0.1:1", "allowed_clients": [zmq.curve_keypair()[0].decode()]}, {}
    )
    first = server_keys(config)
    assert server_keys(config) == first and zmq.curve_public(first[1]) == first[0]
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert server_keys(replace(config, listen="")) != first
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(RequestError, match="others may read it"):
        server_keys(config)


@pytest.mark.parametrize(
    ("field", "flags"),
    [
        ("allowed_clients", {"listen": "tcp://0.0.0.0:1"}),
        ("allowed_clients", {"listen": "tcp://0.0.0.0:1", "allowed_clients": ["short"]}),
        ("listen", {"listen": "ipc:///tmp/x", "allowed_clients": ["x" * 40]}),
    ],
)
def test_a_listener_without_keys_is_no_configuration(field: str, flags: dict[str, object]) -> None:
    with pytest.raises(InvalidField) as caught:
        load_config(flags, {})
    assert caught.value.field == field


def test_an_endpoint_in_use_is_told_and_leaves_nothing_behind(tmp_path: Path, listen: str) -> None:
    key = zmq.curve_keypair()[0].decode()
    with RunningDaemon(tmp_path / "one", SA3_LISTEN=listen, SA3_ALLOWED_CLIENTS=quoted(key)):
        env = environment(tmp_path / "two", SA3_LISTEN=listen, SA3_ALLOWED_CLIENTS=quoted(key))
        second = subprocess.run(
            [sys.executable, "-m", "sa3_daw", "serve"],
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert second.returncode != 0 and "cannot listen on" in second.stderr
    assert not (tmp_path / "two" / "connection.json").exists()
    assert data_dir(tmp_path / "two").is_dir()
