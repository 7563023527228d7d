"""The commands around the daemon: serve, status, stop, models, conformance. Knows no audio."""

from __future__ import annotations

import argparse
from importlib import import_module
from time import monotonic, sleep
from typing import TYPE_CHECKING

from sa3_daw.catalogue import list_models
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


def status(_: argparse.Namespace) -> int:
    """Print the daemon's state; exit code 1 when none runs."""
    try:
        with connect() as client:
            reply = client.status()
    except DaemonUnreachable:
        print("no daemon runs")
        return 1
    engine = reply.engine
    print(f"daemon   process {reply.pid}, up {reply.uptime_seconds:.0f} s")
    print(f"engine   {engine.state}" + (f", process {engine.pid}" if engine.pid else ""))
    if engine.num_deaths:
        print(f"         ended unasked {engine.num_deaths} times")
    print(f"jobs     {reply.num_finished} finished, {reply.num_failed} failed, {reply.num_cancelled} cancelled")
    for job in reply.jobs:
        stage = f", {job.stage} {job.step} of {job.num_steps}" if job.stage else ""
        print(f"{job.state:<9}{job.job_id}: {job.num_samples} samples at {job.sample_rate} Hz, {job.model}{stage}")
    return 0


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


def models(_: argparse.Namespace) -> int:
    """List the installed models, without asking a daemon."""
    config = load_config()
    entries = list_models(config)
    for entry in entries:
        spec = entry.spec
        seconds = spec.max_num_samples / spec.sample_rate
        print(f"{entry.name:<12} up to {seconds:.0f} s at {spec.sample_rate} Hz, {spec.default_steps} steps")
        print(f"{'':<12} {entry.directory}")
    print(f"further models: one folder each with model_config.json and its safetensors in {config.models_dir}")
    return 0 if entries else 1


def conformance(arguments: argparse.Namespace) -> int:
    code: int = import_module("sa3_daw.conformance").main(arguments.directory)
    return code
