"""Memory that was freed goes back to the system, seldom and in pieces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sa3_daw import spare_memory
from sa3_daw.engine.main import serve
from sa3_daw.generation.events import Event
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Message, ResidentModel, Shutdown, UnloadModel
from tests.running_daemon import ROOT

HOLES = """
import os
from sa3_daw.spare_memory import give_back
def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
pieces = [bytes(10_000) for _ in range(8000)]
kept = pieces[::40]
del pieces
before = resident()
give_back()
print(before - resident())
"""


def test_freed_memory_between_what_is_kept_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) > 60_000_000


class Daemon:
    """The engine's link to a daemon: what comes, each so many seconds after the one before was taken, then shutdown."""

    def __init__(self, gaps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.times, self._gaps = 100.0, list[float](), gaps
        self._comes_at = self.now
        monkeypatch.setattr(spare_memory, "monotonic", lambda: self.now)
        monkeypatch.setattr(spare_memory, "give_back", lambda: self.times.append(self.now))

    def send(self, *_: object) -> None:
        self._comes_at = self.now + self._gaps.pop(0) if self._gaps else self._comes_at

    def has_message(self, timeout_seconds: float) -> bool:
        comes = self._comes_at <= self.now + timeout_seconds
        self.now = max(self.now, self._comes_at) if comes else self.now + timeout_seconds
        return comes

    def receive(self, *, wait: bool) -> tuple[Message, str]:
        self.now = max(self.now, self._comes_at)
        return (UnloadModel("any") if self._gaps else Shutdown()), ""


class Busy:
    """An engine that takes so many seconds to unload a model."""

    def __init__(self, link: Daemon, seconds: float) -> None:
        self._link, self._seconds = link, seconds

    def run(self, job: Job, look: Callable[[], None]) -> Iterator[Event]:
        raise NotImplementedError

    def load(self, name: str, keep_alive_seconds: float) -> None:
        raise NotImplementedError

    def unload(self, name: str) -> None:
        self._link.now += self._seconds

    def models(self) -> tuple[ResidentModel, ...]:
        return ()


def given_back(gaps: list[float], monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> list[float]:
    link = Daemon(gaps, monkeypatch)
    stand_in: Any = link
    serve(stand_in, Busy(link, seconds))
    return link.times


def test_it_is_done_no_more_than_once_in_a_pause_however_busy_the_engine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_back([1.0] * 35, monkeypatch) == [110.0, 120.0, 130.0]
    assert given_back([0.0] * 6, monkeypatch, seconds=8.0) == [116.0, 132.0]


def test_an_engine_that_is_left_alone_does_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_back([4.0, 3600.0], monkeypatch) == [110.0]
