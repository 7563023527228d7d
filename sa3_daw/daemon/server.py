"""The daemon's front: one thread, one poll loop over clients, authenticator, engine and signals.

Knows no tensor and imports neither torch nor numpy. A request goes one way: client_sockets, desk (read, checked), jobs
(queued), engine_room (run), jobs (recorded, delivered), client_sockets. Whole files are flushed and hashed by the one
thread of back_room.
"""

from __future__ import annotations

import logging
import os
import signal
import socket as plain_socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import zmq

from sa3_daw import __version__
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.client_sockets import Authenticator, ClientSockets
from sa3_daw.daemon.desk import Desk
from sa3_daw.daemon.engine_room import EngineRoom
from sa3_daw.daemon.jobs import Jobs
from sa3_daw.daemon.journal import Journal
from sa3_daw.daemon.limits import MAX_FRAME_BYTES
from sa3_daw.daemon.remote import server_keys
from sa3_daw.logs import set_up_logging
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.endpoints import (
    Connection,
    DaemonLock,
    IpcDir,
    ensure_private_dir,
    remove_connection,
    write_connection,
)
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.spare_memory import SpareMemory

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 1.0
BUSY_POLL_SECONDS = 0.2
ALIVE_SECONDS = 1.0
STOP_GRACE_SECONDS = 3.0


def serve(config: DaemonConfig) -> int:
    """Run a daemon until SIGTERM, SIGINT or a client's ``shutdown``. Raises RequestError when one runs already."""
    set_up_logging(config.log_level)
    ensure_private_dir(config.runtime_dir)
    locks = [DaemonLock(config.runtime_dir)]
    locks[0].acquire()
    try:
        with suppress(OSError):  # A data folder that cannot be written holds no lock and no takes.
            config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not config.data_dir.samefile(config.runtime_dir):
                locks.append(DaemonLock(config.data_dir))
                locks[1].acquire()
        with wake_on_signals() as wake:
            Server(config).run(wake)
    finally:
        remove_connection(config.runtime_dir)
        for lock in locks:
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
    """The sockets, and the loop that moves everything, in the thread that calls ``run``."""

    def __init__(self, config: DaemonConfig) -> None:
        self._config = config
        self._context = zmq.Context()
        self._context.max_sockets = 1023
        self._ipc = IpcDir(config.runtime_dir) if zmq.has("ipc") else None
        self._room = EngineRoom(
            config,
            self._context,
            self._ipc,
            answer=lambda *answer: self._desk.answer(*answer),
            latents_written=lambda num_bytes: self._jobs.takes.latents_written(num_bytes),
        )
        keys, client_key = server_keys(config), zmq.curve_keypair()
        self._authenticator = Authenticator(
            self._context,
            {
                b"client": {client_key[0]},
                b"engine": {self._room.handle.client_key},
                b"remote": {key.encode("ascii") for key in config.allowed_clients},
            },
        )
        self._clients = ClientSockets(self._context, self._ipc, keys, MAX_FRAME_BYTES, config.listen)
        self._connection = Connection(
            protocol_version=PROTOCOL_VERSION,
            daemon_version=__version__,
            pid=os.getpid(),
            ipc=self._clients.ipc_endpoint,
            tcp=self._clients.tcp_endpoint,
            server_key=keys[0].decode("ascii"),
            client_public_key=client_key[0].decode("ascii"),
            client_secret_key=client_key[1].decode("ascii"),
        )
        self._back_room = BackRoom()
        audio = AudioStore(config.data_dir, self._back_room)
        self._audio = audio
        journal = Journal(config.data_dir)
        self._jobs = Jobs(config, self._room, self._clients.send, audio, journal, self._back_room)
        self._desk = Desk(config, self._jobs, audio, self._room, self._clients.send, self._stop_soon)
        self._alive_sent = monotonic()
        self._spare_memory = SpareMemory()
        self._stopping = False

    def run(self, wake: plain_socket.socket) -> None:
        """Announce the daemon, serve until told to stop, end cleanly."""
        try:
            self._room.open()
            self._jobs.open()
            write_connection(self._config.runtime_dir, self._connection)
            log.info("ready: process %d, runtime directory %s", os.getpid(), self._config.runtime_dir)
            if self._config.listen:
                log.info("listening on %s, server key %s", self._config.listen, self._connection.server_key)
            while not self._stopping:
                self._turn(wake)
        finally:
            self._stop()

    def _turn(self, wake: plain_socket.socket) -> None:
        """Wait for something, then move everything one step on."""
        poller = zmq.Poller()
        behind = self._back_room.wake
        for socket in (*self._clients.all(), self._authenticator.socket, wake, behind, self._room.handle.socket):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(int(self._wait_seconds() * 1000)))
        if wake.fileno() in ready:
            log.info("told by a signal to stop")
            self._stopping = True
        self._authenticator.answer()
        self._back_room.settle()
        for client, frames in self._clients.receive():
            self._desk.receive(client, frames)
        for event in self._room.hear():
            self._jobs.engine_event(event)
        death = self._room.watch()
        if death:
            self._jobs.engine_died(death)
        self._jobs.move_on()
        self._room.tend(is_needed=self._jobs.is_busy)
        self._say_alive()
        if not self._spare_memory.due_in_seconds:
            self._spare_memory.give_back()

    def _wait_seconds(self) -> float:
        if self._jobs.is_busy or self._room.is_occupied or self._room.handle.state == "stopping":
            return min(BUSY_POLL_SECONDS, self._room.handle.wait_seconds or BUSY_POLL_SECONDS)
        return IDLE_POLL_SECONDS

    def _say_alive(self) -> None:
        """Once a second tell every waiting client that the daemon lives, and so learn who is gone."""
        if monotonic() - self._alive_sent < ALIVE_SECONDS:
            return
        self._alive_sent = monotonic()
        self._desk.forget_idle()
        waiting = self._jobs.clients_waiting() | self._room.clients_waiting() | self._audio.clients_sending()
        for client in waiting:
            if not self._clients.send(client, encode(msg.Alive())):
                self._jobs.client_gone(client)
                self._room.forget_client(client)
                self._audio.client_gone(client)

    def _stop_soon(self) -> None:
        self._stopping = True

    def _stop(self) -> None:
        """Tell every client, end the engine, free every name."""
        remove_connection(self._config.runtime_dir)
        self._jobs.close()
        self._room.handle.stop(STOP_GRACE_SECONDS)
        self._clients.close()
        self._authenticator.socket.close()
        with suppress(zmq.ZMQError):
            self._context.term()
        if self._ipc is not None:
            self._ipc.close()
        log.info("ended")
