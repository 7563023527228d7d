"""Who may speak over TCP: a ZAP handler in the daemon's own loop that knows one key per domain. Knows no message.

ZeroMQ asks it (RFC 27) for every CURVE handshake of the context; sockets over ipc are guarded by their directory.
"""

from __future__ import annotations

from typing import Any

import zmq
from zmq.utils import z85

ZAP_ENDPOINT = "inproc://zeromq.zap.01"


class Authenticator:
    """Lets in, per domain, the one client that has the given public key. An empty key lets nobody in."""

    def __init__(self, context: zmq.Context[Any], keys_by_domain: dict[bytes, bytes]) -> None:
        """Keys are Z85. Must exist before the guarded sockets are bound."""
        self._raw_keys = {domain: z85.decode(key) for domain, key in keys_by_domain.items() if key}
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def answer(self) -> None:
        """Answer every question that has arrived; never blocks."""
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            envelope, question = frames[: frames.index(b"") + 1], frames[frames.index(b"") + 1 :]
            zap_version, request_id, domain, _address, _identity, mechanism, *credentials = question
            known = self._raw_keys.get(domain)
            welcome = mechanism == b"CURVE" and known is not None and credentials == [known]
            status = [b"200", b"OK"] if welcome else [b"400", b"unknown key"]
            self.socket.send_multipart([*envelope, zap_version, request_id, *status, b"", b""])
