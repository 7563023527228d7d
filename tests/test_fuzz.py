"""Hostile frames, briefly: hypothesis over values and bytes, and the fuzzer itself for some thousand inputs."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target, corpus, frames_of, models_in_memory, mutated, packed

ROOT = Path(__file__).resolve().parent.parent
NUM_RUNS = 5000
TARGET = Target()
MESSAGES = corpus()


@pytest.fixture(scope="module", autouse=True)
def without_disk() -> Iterator[None]:
    with models_in_memory():
        yield


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(st.binary(max_size=200), max_size=6))
def test_any_frames_are_refused_by_name_or_read(frames: list[bytes]) -> None:
    TARGET(packed(frames))


@settings(max_examples=300, deadline=None)
@given(message=st.sampled_from(MESSAGES), seed=st.integers(0, 2**32))
def test_real_messages_with_changed_values_are_refused_by_name_or_read(message: bytes, seed: int) -> None:
    TARGET(mutated(message, random.Random(seed), MESSAGES))


def test_the_corpus_reaches_admission_with_jobs_of_every_verb() -> None:
    target = Target()
    for message in MESSAGES[-7:]:
        target(message)
    assert target.num_admitted == 7


def test_frames_and_their_packing_are_each_others_inverse() -> None:
    frames = [b"", b"one", b"\x00" * 5]
    assert frames_of(packed(frames)) == frames
    assert frames_of(struct.pack("<I", 2**32 - 1) + b"rest") == [b"rest"]


def test_the_fuzzer_runs_and_finds_no_crash_and_no_growth() -> None:
    command = [sys.executable, "-m", "tests.fuzz.fuzz_messages", "--runs", str(NUM_RUNS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(rf"{NUM_RUNS} inputs in \d+ s, no crash", done.stdout), done.stdout
