"""The take store on a disk that fails it: room can be made, and what is told can be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sa3_daw.blobs import latents_path
from sa3_daw.config import load_config
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.recorder import Recorder
from sa3_daw.daemon.spool import AudioSpool
from sa3_daw.daemon.takes import TakeStore
from sa3_daw.errors import EngineError, InvalidField
from sa3_daw.protocol.messages import Audio, ChangeTake, ListTakes, Take
from sa3_daw.take import TakeMade
from tests.running_daemon import a_job

NUM_SAMPLES = 10_000
BUDGET_MB = 1


class Store:
    """A store in this process; ``make`` stores a take of 80 kB and returns what its client is told."""

    def __init__(self, folder: Path) -> None:
        self.room = BackRoom()
        self.audio = AudioStore(folder, self.room)
        config = replace(load_config(), data_dir=folder, takes_budget_mb=BUDGET_MB)
        self.takes = TakeStore(config, self.audio, lambda: ())
        self.takes.open()

    def make(self, value: int, job_id: str = "") -> Take:
        made: list[Take] = []
        job = a_job(num_samples=NUM_SAMPLES, job_id=job_id or f"{value}")
        recorder = Recorder(job, self.audio, self.takes, self.room)
        recorder.add(Audio(0, NUM_SAMPLES, 2, 0), bytes([value]) * 8 * NUM_SAMPLES)
        recorder.complete(TakeMade(0, 7, NUM_SAMPLES, 0.0, 0.0, None, None, None), made.append)
        while not made:
            self.room.settle()
        return made[0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.room.close()
    opened.takes.close()


def test_a_take_deleted_while_the_index_cannot_change_is_gone_at_once_and_for_good(
    store: Store, tmp_path: Path
) -> None:
    one, other = store.make(1), store.make(2)
    with closing(sqlite3.connect(tmp_path / "takes.sqlite")) as another:
        another.execute("BEGIN IMMEDIATE")  # As on a full disk, nothing can be written.
        assert store.takes.delete(one.take_id)
        assert not store.audio.path(one.audio).exists()
        assert [take.take_id for take in store.takes.search(ListTakes())] == [other.take_id]
        assert store.takes.status().num_takes == 1 and not store.takes.delete(one.take_id)
        with pytest.raises(InvalidField, match="take_id"):
            store.takes.change(ChangeTake(one.take_id, starred=True))
        assert rows(another) == 2
    assert store.takes.delete(other.take_id)
    with closing(sqlite3.connect(tmp_path / "takes.sqlite")) as another:
        assert rows(another) == 0


def rows(index: sqlite3.Connection) -> int:
    number: int = index.execute("SELECT count(*) FROM takes").fetchone()[0]
    return number


def test_audio_of_another_take_stays_when_one_goes(store: Store) -> None:
    one, other = store.make(1), store.make(1, job_id="other")
    assert one.audio == other.audio and one.take_id != other.take_id
    assert store.takes.delete(one.take_id) and store.audio.path(one.audio).exists()
    assert store.takes.delete(other.take_id) and not store.audio.path(one.audio).exists()


def test_a_take_that_a_job_makes_again_is_there_once(store: Store) -> None:
    assert store.make(1).take_id == store.make(1).take_id and store.takes.status().num_takes == 1


def test_what_the_disk_says_is_told_plainly(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(spool: AudioSpool, start: int, planar: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AudioSpool, "_write_channels", full)
    problem = store.make(1).problem
    assert problem.startswith("the take could not be stored: /") and problem.endswith(": No space left on device")
    assert "Errno" not in problem


def test_what_a_full_disk_leaves_in_memory_has_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(spool: AudioSpool, start: int, planar: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AudioSpool, "_write_channels", full)
    monkeypatch.setattr("sa3_daw.daemon.recorder.MAX_KEPT_BYTES", 8 * NUM_SAMPLES)
    recorders = [
        Recorder(a_job(num_samples=NUM_SAMPLES, job_id=name), store.audio, store.takes, store.room) for name in "ab"
    ]
    recorders[0].add(Audio(0, NUM_SAMPLES, 2, 0), bytes(8 * NUM_SAMPLES))
    with pytest.raises(EngineError, match="nothing can be stored .*No space left"):
        recorders[1].add(Audio(0, 1, 2, 0), bytes(8))
    for recorder in recorders:
        recorder.close(lambda: None)
    assert store.audio.num_kept_bytes == 0


def test_latents_that_cannot_be_deleted_let_takes_make_room(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = latents_path(tmp_path, "0" * 64, "a")
    fixed.parent.mkdir(parents=True)
    fixed.write_bytes(bytes(900_000))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == fixed:
            raise PermissionError("this file stays")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    store.takes.latents_written(900_000)
    for value in range(4):
        store.make(value)
    store.takes.make_room()
    assert store.takes.status().num_takes < 4
