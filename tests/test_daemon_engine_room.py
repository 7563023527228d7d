"""The engine room: when an idle engine is ended, and what one that is being killed still gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from sa3_daw.config import load_config
from sa3_daw.daemon import engine_room
from sa3_daw.daemon.engine_room import EngineRoom
from sa3_daw.protocol.endpoints import IpcDir
from tests.running_daemon import FAKE_ENGINE, ROOT, a_job, wait_for


def ignore(*_: object) -> None: ...


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


def test_an_engine_that_answers_a_cancel_just_as_it_is_killed_gets_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = replace(load_config(environment={}), runtime_dir=tmp_path, data_dir=tmp_path, engine_command=FAKE_ENGINE)
    context = zmq.Context()
    room = EngineRoom(replace(config, engine_cancel_seconds=1), context, IpcDir(tmp_path), ignore, ignore)
    room.open()
    try:
        wait_for("ready", lambda: not list(room.hear()) and room.handle.state == "idle")
        room.run(replace(a_job("steps=3 step_ms=700"), steps=2))
        room.stop()
        sleep(2.0)  # The front is held up; the engine has answered.
        room._watch_for_hanging()
        list(room.hear())
        assert not room.make_ready()
    finally:
        room.handle.stop(0)
        context.destroy(0)
