"""The sockets clients come to, and who may speak on them. Knows no message.

Over ipc the 0700 directory guards; over TCP every handshake is CURVE and asks the Authenticator here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import zmq
from zmq.utils import z85

from sa3_daw.errors import RequestError
from sa3_daw.protocol.endpoints import IpcDir

ZAP_ENDPOINT = "inproc://zeromq.zap.01"

SEND_QUEUE_MESSAGES = 2000
"""A client that lets this many messages pile up does not read; it is treated as gone."""
MESSAGES_PER_TURN = 64
"""Read from one socket before the others get their turn."""
LINGER_MS = 500
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 1000, 5000

Address = tuple[str, bytes]
"""Transport (ipc, tcp or remote) and the routing id the client has there."""


class Authenticator:
    """A ZAP handler (ZeroMQ RFC 27) in the daemon's own loop: per domain, the listed public keys are let in."""

    def __init__(self, context: zmq.Context[Any], keys_by_domain: dict[bytes, set[bytes]]) -> None:
        """Keys are Z85. Must exist before the guarded sockets are bound."""
        self._raw_keys = {domain: {z85.decode(key) for key in keys if key} for domain, keys in keys_by_domain.items()}
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def answer(self) -> None:
        """Answer every question that has arrived; never blocks."""
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            envelope, question = frames[: frames.index(b"") + 1], frames[frames.index(b"") + 1 :]
            zap_version, request_id, domain, _address, _identity, mechanism, *credentials = question
            known = self._raw_keys.get(domain, set())
            welcome = mechanism == b"CURVE" and len(credentials) == 1 and credentials[0] in known
            status = [b"200", b"OK"] if welcome else [b"400", b"unknown key"]
            self.socket.send_multipart([*envelope, zap_version, request_id, *status, b"", b""])


class ClientSockets:
    """One ROUTER per transport."""

    def __init__(
        self,
        context: zmq.Context[Any],
        ipc: IpcDir | None,
        server_key: tuple[bytes, bytes],
        max_frame_bytes: int,
        listen: str,
    ) -> None:
        """``ipc`` None leaves TCP alone; ``listen`` is a further endpoint, for other machines.

        The context's Authenticator must exist already. Raises RequestError when ``listen`` cannot be bound.
        """
        self._context = context
        self._max_frame_bytes = max_frame_bytes
        tcp = self._guarded_router(server_key, b"client")
        port = tcp.bind_to_random_port("tcp://127.0.0.1")
        self.tcp_endpoint = f"tcp://127.0.0.1:{port}"
        self.ipc_endpoint = ipc.endpoint("daemon.sock") if ipc else ""
        self._sockets = {"tcp": tcp}
        if self.ipc_endpoint:
            self._sockets["ipc"] = self._router()
            self._sockets["ipc"].bind(self.ipc_endpoint)
        if listen:
            self._sockets["remote"] = self._guarded_router(server_key, b"remote")
            self._bind_remote(listen)

    def all(self) -> list[zmq.Socket[bytes]]:
        """Return the sockets, to be polled."""
        return list(self._sockets.values())

    def receive(self) -> Iterator[tuple[Address, list[bytes]]]:
        """Yield messages that have arrived, a bounded number from each socket."""
        for transport, socket in self._sockets.items():
            for _ in range(MESSAGES_PER_TURN):
                if not socket.poll(0):
                    break
                routing_id, *frames = socket.recv_multipart()
                yield (transport, routing_id), frames

    def send(self, address: Address, frames: list[bytes]) -> bool:
        """Send without blocking; False when the client is gone or does not read."""
        transport, routing_id = address
        try:
            self._sockets[transport].send_multipart([routing_id, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return False
        return True

    def close(self) -> None:
        """Close, giving what is under way a moment to leave."""
        for socket in self._sockets.values():
            socket.close()

    def _bind_remote(self, listen: str) -> None:
        try:
            self._sockets["remote"].bind(listen)
        except zmq.ZMQError as error:
            raise RequestError(f"cannot listen on {listen}: {error}", field="listen", value=listen) from error

    def _guarded_router(self, server_key: tuple[bytes, bytes], domain: bytes) -> zmq.Socket[bytes]:
        router = self._router()
        router.curve_server = True
        router.curve_publickey, router.curve_secretkey = server_key
        router.zap_domain = domain
        return router

    def _router(self) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.router_mandatory = True
        router.linger = LINGER_MS
        router.sndhwm = SEND_QUEUE_MESSAGES
        router.maxmsgsize = self._max_frame_bytes
        router.heartbeat_ivl, router.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
        return router
