"""A mistake inside the daemon costs the message that met it, nothing else; who floods it is refused, nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from sa3_daw.config import load_config
from sa3_daw.daemon import desk as desk_module
from sa3_daw.daemon.desk import Desk
from sa3_daw.daemon.limits import MESSAGES_AT_ONCE, MESSAGES_PER_SECOND
from sa3_daw.errors import LimitExceeded
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


def test_a_client_that_floods_is_refused_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    answers: list[msg.Message] = []
    monkeypatch.setattr(desk_module, "monotonic", lambda: now[0])

    class Jobs:
        takes = None

        def cancel(self, job_id: str) -> bool:
            return False

    def send(_: object, frames: list[bytes]) -> bool:
        received = decode(frames)
        assert received is not None
        answers.append(received.message)
        return True

    jobs: Any = Jobs()
    broken: Any = Broken()
    desk = Desk(load_config(environment={}), jobs, broken, broken, send, lambda: None)
    frames = encode(msg.Cancel(), job="none")

    def is_refused(client: bytes) -> bool:
        desk.receive(("ipc", client), frames)
        answer = answers.pop()
        if isinstance(answer, msg.Rejected):
            assert (answer.code, answer.field) == (LimitExceeded.code, "messages")
        return isinstance(answer, msg.Rejected)

    assert not any(is_refused(b"flood") for _ in range(int(MESSAGES_AT_ONCE)))
    assert is_refused(b"flood") and not is_refused(b"other")
    now[0] += 1.0
    assert sum(not is_refused(b"flood") for _ in range(int(2 * MESSAGES_PER_SECOND))) == MESSAGES_PER_SECOND
    now[0] += MESSAGES_AT_ONCE / MESSAGES_PER_SECOND
    desk.forget_idle()
    assert not is_refused(b"flood")
