"""The engine room with a stand-in for the process: when an idle engine is ended."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sa3_daw.config import load_config
from sa3_daw.daemon import engine_room
from sa3_daw.daemon.engine_room import EngineRoom


def test_an_engine_that_starts_slowly_is_idle_from_its_readiness_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, retired = [100.0], []
    monkeypatch.setattr(engine_room, "monotonic", lambda: now[0])
    config = replace(load_config(environment={}), idle_unload_seconds=10)
    nothing: Any = None
    room = EngineRoom(config, nothing, None, nothing, nothing)
    handle: Any = SimpleNamespace(state="starting", wait_seconds=0.0, retire=lambda grace: retired.append(now[0]))
    room.handle = handle
    for _ in range(30):
        now[0] += 1
        room.tend(is_needed=False)
    handle.state = "idle"
    while not retired:
        now[0] += 1
        room.tend(is_needed=False)
    assert retired == [141.0]
