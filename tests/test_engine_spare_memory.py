"""Memory that was freed goes back to the system, seldom and in pieces."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sa3_daw.engine import spare_memory
from sa3_daw.engine.spare_memory import SpareMemory
from tests.running_daemon import ROOT

HOLES = """
import os
from sa3_daw.engine.spare_memory import give_back
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


def test_it_is_done_no_more_than_once_in_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now, times = [100.0], []
    monkeypatch.setattr(spare_memory, "monotonic", lambda: now[0])
    monkeypatch.setattr(spare_memory, "give_back", lambda: times.append(now[0]))
    memory = SpareMemory()
    for second in range(0, 200, 7):
        now[0] = 100.0 + second
        memory.give_back_when_due()
    assert times == [163.0, 226.0, 289.0]
