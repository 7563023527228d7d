"""A mistake inside the daemon costs the message that met it, nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sa3_daw.config import load_config
from sa3_daw.daemon.desk import Desk
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.framing import decode, encode


class Broken:
    """Stands for any part of the daemon with a mistake in it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(f"no {name}")


@pytest.mark.parametrize("request_", [msg.Status(), msg.Cancel(), msg.ListTakes(), msg.Hello()])
def test_an_unforeseen_error_is_told_to_its_sender_and_goes_no_further(request_: msg.Message) -> None:
    sent: list[list[bytes]] = []
    broken: Any = Broken()

    def send(_: object, frames: list[bytes]) -> bool:
        sent.append(frames)
        return True

    desk = Desk(load_config(environment={}), broken, broken, broken, send, lambda: None)
    desk.receive(("ipc", b"client"), encode(request_, job="a1", seq=7))
    received = decode(sent[0])
    assert received is not None and received.header.seq == 7
    assert isinstance(received.message, msg.Rejected)
    assert received.message.code == "error" and "ZeroDivisionError" in received.message.message
