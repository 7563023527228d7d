"""What any bytes may do to the daemon's reading of frames: be refused by name, or pass. Knows no fuzzing engine."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgpack

from sa3_daw import edits
from sa3_daw.catalogue import ModelEntry, find_model
from sa3_daw.config import load_config
from sa3_daw.daemon import admission
from sa3_daw.errors import RequestError, Sa3Error, invalid
from sa3_daw.job import AdapterUse, Job, Region, TempoPoint
from sa3_daw.protocol.framing import decode, encode
from sa3_daw.protocol.messages import Header

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
STORED = {"5e" * 32: 24_000, "7a" * 32: 361_412}
ADAPTERS = ("dusty", "bright")
MAX_FRAMES = 8
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, -0.0, math.nan, math.inf, 1e308,
    "", "nano", "a1", "x" * 5000, "\x00", "../../etc/passwd", "5e" * 32, b"bytes", [], [[]], {}, {"position_ppq": 0.0},
)  # fmt: skip


@lru_cache(maxsize=64)
def known_model(name: str) -> ModelEntry:
    """Find a model without looking at the disk for each input."""
    if name != "nano":
        raise invalid("model", name, "nano")
    return find_model(name, load_config({}, {}))


@contextmanager
def models_in_memory() -> Iterator[None]:
    """While it lasts, admission finds models without looking at the disk."""
    held = vars(admission)
    found = held["find_model"]
    held["find_model"] = lambda name, _: known_model(name)
    try:
        yield
    finally:
        held["find_model"] = found


class Target:
    """Takes inputs; counts what became of them. Anything but a Sa3Error passes through: that is a crash."""

    def __init__(self) -> None:
        self.num_refused = 0
        self.num_read = 0
        self.num_admitted = 0
        self._config = load_config({}, {})

    def __call__(self, content: bytes) -> None:
        frames = frames_of(content)
        try:
            self._read(frames)
        except RequestError as error:
            self.num_refused += 1
            assert error.message and len(error.message) < 4000, "a refusal says why, and not for pages"
            assert len(error.value) < 400, "a refusal does not echo the input"
        try:
            decode(frames)
        except Sa3Error:
            self.num_refused += 1

    def _read(self, frames: list[bytes]) -> None:
        header: Header = admission.read_header(frames)
        message = admission.read_request(frames, header)
        self.num_read += 1
        if isinstance(message, Job):
            job = admission.admit(message, self._config, lambda audio: STORED.get(audio, 0), ADAPTERS)
            self.num_admitted += 1
            again = decode(encode(job, job=job.job_id, seq=1))
            assert again is not None and again.message == job, "what is admitted travels on unchanged"
            assert admission.admit(replace(job), self._config, lambda audio: STORED.get(audio, 0), ADAPTERS) == job


def frames_of(content: bytes) -> list[bytes]:
    """Read any bytes as frames: each after its length, the last one as long as bytes are left."""
    frames: list[bytes] = []
    position = 0
    while position < len(content) and len(frames) < MAX_FRAMES:
        (length,) = struct.unpack("<I", content[position : position + 4].ljust(4, b"\0"))
        frames.append(content[position + 4 : position + 4 + length])
        position += 4 + length
    return frames


def corpus() -> list[bytes]:
    """Return one real message of every kind, and jobs of every verb that are admitted as they are."""
    job = Job("a1", "house drums", 48_000, 48_000, 7, (TempoPoint(0.0, 127.5), TempoPoint(8.0, 90.0, 7, 8)))
    audio, num_samples = next(iter(STORED.items()))
    jobs = (
        job,
        replace(job, num_variations=4, best_of=2, draft=True, loop=True, seed=2**63 - 9, priority="audible"),
        replace(
            job, adapters=(AdapterUse("dusty", 0.5, 0.25, 0.75, "to_q"),), loudness_lufs=-14.0, headroom_seconds=0.0
        ),
        edits.inpaint(job, audio, num_samples, (Region(0, 100), Region(12_000, 18_000))),
        edits.continue_before(job, audio, num_samples, 24_000),
        edits.restyle(job, audio, num_samples, 0.5),
        edits.loop(job, audio, num_samples),
    )
    sent = [packed(encode(each, job=each.job_id, seq=1, credit=16)) for each in jobs]
    return [*(path.read_bytes() for path in sorted(VECTORS.glob("*.bin"))), *sent, *sent]


def mutated(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return a message changed in its values (it stays readable) or, one time in three, in its bytes."""
    if rng.randrange(3):
        frames = frames_of(content)
        try:
            for _ in range(rng.randint(1, 3)):
                at = rng.choice((1, 2, 2, 2, 2, 2, 2, 2))
                frames[at] = msgpack.packb(with_other_value(msgpack.unpackb(frames[at]), rng))
            return packed(frames)
        except (ValueError, IndexError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
            pass
    return with_other_bytes(content, rng, others)


def packed(frames: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def with_other_value(value: Any, rng: random.Random) -> Any:
    """Return plain data with one value, somewhere inside, made another."""
    if isinstance(value, dict) and value and rng.randrange(12):
        key = rng.choice(list(value))
        return {**value, key: with_other_value(value[key], rng)}
    if isinstance(value, list) and value and rng.randrange(6):
        at = rng.randrange(len(value))
        if rng.randrange(3) == 0:
            return value[:at] if rng.randrange(2) else [*value, *value[at:]]
        return [*value[:at], with_other_value(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str) and rng.randrange(3):
        return rng.choice(
            (value[:-1], value + "x", value.upper(), *(text for text in HOSTILE if isinstance(text, str)))
        )
    if isinstance(value, int | float) and rng.randrange(4):
        return type(value)(rng.choice((value + 1, value - 1, value * 2, value // 2, -value, 0, 1)))
    return rng.choice(HOSTILE)


def with_other_bytes(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return the content with a few bytes changed, cut, doubled or taken from another message."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        span = rng.randint(1, 12)
        kind = rng.randrange(4)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xCB, 0xDF, 0xFF))])
        elif kind == 1:
            del changed[at : at + span]
        elif kind == 2:
            changed[at:at] = changed[at : at + span]
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            changed[at : at + span] = other[start : start + span]
    return bytes(changed)
