"""The byte vectors: every kind has one, decoded as index.json says and encoded again to the same bytes."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from sa3_daw.job import Job
from sa3_daw.protocol.framing import decode, encode
from sa3_daw.protocol.messages import KIND_OF, KINDS
from tests.make_vectors import VECTORS, unpack, vectors

INDEX = json.loads((VECTORS / "index.json").read_text("utf-8"))


def test_every_kind_has_a_vector_and_the_files_are_the_ones_the_script_makes() -> None:
    assert {held["kind"] for held in INDEX.values()} == set(KINDS)
    assert {name: (VECTORS / name).read_bytes() for name in INDEX} == {
        name: made[0] for name, made in vectors().items()
    }


@pytest.mark.parametrize("name", INDEX)
def test_a_vector_decodes_as_told_and_encodes_to_the_same_bytes(name: str) -> None:
    frames = unpack((VECTORS / name).read_bytes())
    received = decode(frames)
    assert received is not None
    assert KIND_OF[type(received.message)] == INDEX[name]["kind"]
    assert asdict(received.header) == INDEX[name]["header"]
    assert json.loads(json.dumps(asdict(received.message))) == INDEX[name]["body"]
    assert [buffer.hex() for buffer in received.buffers] == INDEX[name]["buffers"]
    header = received.header
    buffer = received.buffers[0] if received.buffers else None
    again = encode(received.message, job=header.job, seq=header.seq, credit=header.credit, buffer=buffer)
    assert again == frames


def test_the_generate_vector_keeps_every_digit() -> None:
    received = decode(unpack((VECTORS / "generate.bin").read_bytes()))
    assert received is not None and isinstance(received.message, Job)
    assert received.message.seed == 2**63 - 1 and received.message.prompt.endswith("Größe ∞")
