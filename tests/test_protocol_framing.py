"""Framing for trusted peers: tolerant of what is new, clear about what is broken."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa3_daw.errors import ProtocolMismatch, RequestError
from sa3_daw.protocol.framing import decode, encode
from sa3_daw.protocol.messages import Accepted, Credit, Progress
from tests.running_daemon import a_job


def test_unknown_kinds_are_passed_over() -> None:
    assert decode([b"hologram", msgpack.packb({"v": 1}), b"\x80"]) is None
    assert decode([b"\xff\xfe", b"", b""]) is None


def test_unknown_fields_are_dropped_and_missing_ones_take_their_default() -> None:
    body = {"position": 1, "model": "nano", "steps": 2, "guidance_scale": 3, "colour": "blue"}
    received = decode([b"accepted", msgpack.packb({"v": 1, "mood": 1}), msgpack.packb(body)])
    assert received is not None
    assert received.message == Accepted(1, "nano", 2, 3.0, None)


def test_another_version_is_refused_by_number() -> None:
    with pytest.raises(ProtocolMismatch, match="version 2"):
        decode([b"alive", msgpack.packb({"v": 2}), b"\x80"])


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", b"\x81\xaanum_chunks\xc3", b"\x81\xaanum_chunks\xa11", b"\x80"]
)
def test_a_broken_body_is_an_error_in_words(body: bytes) -> None:
    with pytest.raises(RequestError, match="body"):
        decode([b"credit", msgpack.packb({"v": 1}), body])


def test_too_few_frames_are_an_error_in_words() -> None:
    with pytest.raises(RequestError, match="3 frames"):
        decode([b"credit"])


@pytest.mark.parametrize("job", [a_job("\ud800"), a_job(num_samples=2**64)])
def test_what_msgpack_cannot_carry_is_an_error_in_words(job: object) -> None:
    with pytest.raises(RequestError, match="cannot be sent"):
        encode(job)  # type: ignore[arg-type]


@given(st.text(max_size=50), st.integers(0, 2**63 - 1), st.floats(allow_nan=False))
def test_messages_survive_the_wire(text: str, number: int, value: float) -> None:
    for message in (Progress(text, number, number, value), Credit(number)):
        received = decode(encode(message, job="j", seq=number))
        assert received is not None and received.message == message and received.header.seq == number
