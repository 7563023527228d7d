"""The thread behind the front: order, errors, the end; and that audio is on the disk before it has its name."""

from __future__ import annotations

import hashlib
import os
import select
import threading
from pathlib import Path
from typing import Any

import pytest

from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.spool import AudioSpool


def test_what_follows_is_done_in_order_in_the_thread_that_settles() -> None:
    room = BackRoom()
    heard: list[Any] = []
    for number in range(3):
        room.do(lambda number=number: (number, threading.current_thread()), heard.append)  # type: ignore[misc]
    room.do(lambda: os.stat("/nowhere/at/all"), heard.append)
    assert select.select([room.wake], [], [], 60)[0]
    room.close()
    *results, error = heard
    assert [number for number, _ in results] == [0, 1, 2]
    assert all(thread is not threading.current_thread() for _, thread in results)
    assert isinstance(error, FileNotFoundError)


def test_settling_without_work_waits_for_nothing() -> None:
    room = BackRoom()
    heard: list[bool | Exception] = []
    room.settle()
    gate = threading.Event()
    room.do(gate.wait, heard.append)
    room.settle()
    assert heard == []
    gate.set()
    room.close()
    assert heard == [True]


def test_audio_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, flushed, fsync = AudioSpool(tmp_path / "a.part", 4), [], os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append(sorted(path.name for path in tmp_path.iterdir()))

    monkeypatch.setattr(os, "fsync", noting)
    spool.write(bytes(range(16)))
    spool.write(bytes(range(16, 32)))
    address = spool.seal()
    spool.move_to(tmp_path / "named")
    assert flushed == [["a.part"]]
    assert address == hashlib.sha256((tmp_path / "named").read_bytes()).hexdigest()
