"""The commands around the daemon's life: serve and stop; and conformance. Knows no audio."""

from __future__ import annotations

import argparse
from importlib import import_module
from time import monotonic, sleep
from typing import TYPE_CHECKING

from sa3_daw.config import load_config
from sa3_daw.errors import DaemonUnreachable, RequestError
from sa3_daw.protocol.endpoints import DaemonLock

if TYPE_CHECKING:
    from sa3_daw.client import Client

STOP_TIMEOUT_SECONDS = 10.0


def connect() -> Client:
    """Connect to the running daemon. Imported late: the client brings numpy, which ``serve`` need not hold."""
    from sa3_daw.client import Client

    return Client.connect(autostart=False)


def serve(_: argparse.Namespace) -> int:
    from sa3_daw.daemon.server import serve as serve_until_stopped

    return serve_until_stopped(load_config())


def stop(_: argparse.Namespace) -> int:
    """End the daemon and wait until its process is gone."""
    try:
        with connect() as client:
            stop_and_wait(client)
    except DaemonUnreachable:
        print("no daemon runs")
        return 0
    print("the daemon has ended")
    return 0


def stop_and_wait(client: Client) -> None:
    """Shut the daemon down and wait until its lock is free: then the next one may start.

    Raises RequestError, naming the process, when that takes too long.
    """
    client.shutdown()
    lock = DaemonLock(load_config().runtime_dir)
    deadline = monotonic() + STOP_TIMEOUT_SECONDS
    while True:
        try:
            lock.acquire()
        except RequestError:
            if monotonic() > deadline:
                raise
            sleep(0.02)
        else:
            lock.release()
            return


def conformance(arguments: argparse.Namespace) -> int:
    code: int = import_module("sa3_daw.conformance").main(arguments.directory)
    return code
