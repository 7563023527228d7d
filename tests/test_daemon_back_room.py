"""The thread behind the front: order, errors, the end; and that audio is on the disk before it has its name."""

from __future__ import annotations

import hashlib
import os
import select
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sa3_daw.config import load_config
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.jobs import Jobs
from sa3_daw.daemon.journal import Journal
from sa3_daw.daemon.limits import MAX_UPLOADS
from sa3_daw.daemon.recorder import Recorder
from sa3_daw.daemon.spool import AudioSpool, spool_path
from sa3_daw.daemon.takes import TakeStore
from sa3_daw.errors import LimitExceeded, RequestError
from sa3_daw.job import Source
from sa3_daw.protocol.framing import Received
from sa3_daw.protocol.messages import Audio, Header, ListTakes, PutAudio, PutAudioReply, Take
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.take import TakeMade
from tests.running_daemon import PATIENCE_SECONDS, a_job


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


def test_a_cut_that_a_full_disk_does_not_take_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = AudioSpool(spool_path(tmp_path, "a.0", 8), 8)
    spool.write(bytes(32))
    full = spool_path(tmp_path, "a.0", 4)
    full.symlink_to("/dev/full")
    monkeypatch.setattr("sa3_daw.daemon.spool.spool_path", lambda *_: full)
    with pytest.raises(OSError, match="No space left on device"):
        spool.seal()
    spool.drop()
    assert not list(tmp_path.iterdir())


def test_it_ends_however_much_was_done_before_anyone_heard_of_it() -> None:
    room = BackRoom()
    heard: list[int | Exception] = []
    for number in range(2000):  # More than a socket holds of calls.
        room.do(lambda number=number: number, heard.append)  # type: ignore[misc]
    ending = threading.Thread(target=room.close, daemon=True)
    ending.start()
    ending.join(PATIENCE_SECONDS)
    assert not ending.is_alive() and heard == list(range(2000))


def test_a_job_that_comes_again_leaves_the_take_alone_that_is_still_being_sealed(tmp_path: Path) -> None:
    room, gate, job = BackRoom(), threading.Event(), a_job(num_samples=4)
    config = replace(load_config(), data_dir=tmp_path)
    store = AudioStore(tmp_path, room)
    takes = TakeStore(config, store, lambda: ())
    takes.open()
    room.do(gate.wait, lambda _: None)
    made: list[Take] = []
    for planar in (bytes(range(32)), bytes(range(32, 64))):
        recorder = Recorder(job, store, takes, room)
        recorder.add(Audio(0, 4, 2, 0), planar)
        recorder.complete(TakeMade(0, 7, 4, 0.0, 0.0, None, None, None), made.append)
        recorder.close(lambda: None)
    gate.set()
    room.close()
    takes.close()
    assert [take.problem for take in made] == ["", ""]
    for take, planar in zip(made, (bytes(range(32)), bytes(range(32, 64))), strict=True):
        assert take.audio == hashlib.sha256(planar).hexdigest()
        assert store.path(take.audio).read_bytes() == planar


def test_what_an_interrupted_job_had_made_gets_to_the_disk_behind_the_front(tmp_path: Path) -> None:
    room, gate = BackRoom(), threading.Event()
    store = AudioStore(tmp_path, room)
    takes = TakeStore(replace(load_config(), data_dir=tmp_path), store, lambda: ())
    takes.open()
    recorder = Recorder(a_job(num_samples=8), store, takes, room)
    recorder.add(Audio(0, 4, 2, 0), bytes(range(32)))
    room.do(gate.wait, lambda _: None)
    recorder.interrupt()
    recorder.close(lambda: None)
    assert takes.status().num_takes == 0
    gate.set()
    room.close()
    (take,) = takes.search(ListTakes())
    takes.close()
    assert take.interrupted and take.made.num_samples == 4
    assert store.path(take.audio).read_bytes() == bytes(range(32)) and not list((tmp_path / "incoming").iterdir())


def test_the_source_of_an_interrupted_job_stays_while_its_take_is_on_its_way_to_the_disk(tmp_path: Path) -> None:
    room, gate = BackRoom(), threading.Event()
    store = AudioStore(tmp_path, room)
    handle = SimpleNamespace(state="idle")
    engine: Any = SimpleNamespace(
        is_hopeless=False, make_ready=lambda: True, run=lambda _: None, stop=lambda: None, handle=handle
    )
    config = replace(load_config(), data_dir=tmp_path)
    jobs = Jobs(config, engine, lambda *_: True, store, Journal(tmp_path), room)
    jobs.open()
    made: list[Take] = []
    recorder = Recorder(a_job(num_samples=4), store, jobs.takes, room)
    recorder.add(Audio(0, 4, 2, 0), bytes(range(32)))
    recorder.complete(TakeMade(0, 7, 4, 0.0, 0.0, None, None, None), made.append)
    while not made:
        room.settle()
    job = replace(a_job(num_samples=8), source=Source(made[0].audio))
    jobs.submit(("", b""), Header(PROTOCOL_VERSION, job.job_id), job)
    jobs.move_on()
    jobs.engine_event(Received(Header(PROTOCOL_VERSION), Audio(0, 4, 2, 0), (bytes(32),)))
    room.do(gate.wait, lambda _: None)
    assert jobs.cancel(job.job_id)
    assert jobs.takes.delete(made[0].take_id)
    gate.set()
    while not (stored := jobs.takes.search(ListTakes())):
        room.settle()
    assert stored[0].interrupted and store.num_samples(stored[0].source) == 4
    assert jobs.takes.delete(stored[0].take_id) and not store.num_samples(made[0].audio)
    jobs.close()


def test_half_an_upload_goes_when_another_client_has_sent_the_whole(tmp_path: Path) -> None:
    room = BackRoom()
    store = AudioStore(tmp_path, room)
    planar = bytes(range(64))
    address = hashlib.sha256(planar).hexdigest()
    left, right = planar[:32], planar[32:]
    first, second = left[:16] + right[:16], left[16:] + right[16:]
    answers: list[PutAudioReply | RequestError] = []

    def put(client: bytes, start_sample: int, piece: bytes) -> None:
        request = PutAudio(address, 8, start_sample, len(piece) // 8)
        store.put(("ipc", client), request, (piece,), lambda _: None, answers.append)

    put(b"slow", 0, first)
    put(b"quick", 0, first)
    put(b"quick", 4, second)
    room.close()
    assert store.clients_sending() == {("ipc", b"slow")}
    put(b"slow", 4, second)
    assert answers[-1] == PutAudioReply(address, 8, True)
    assert store.clients_sending() == set() and not list((tmp_path / "incoming").iterdir())


def test_an_upload_that_cannot_be_sealed_costs_that_upload_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(spool: AudioSpool) -> str:
        raise MemoryError("no memory")

    monkeypatch.setattr(AudioSpool, "seal", no_memory)
    room = BackRoom()
    store = AudioStore(tmp_path, room)
    answers: list[PutAudioReply | RequestError] = []
    store.put(("", b""), PutAudio("0" * 64, 4, 0, 4), (bytes(32),), lambda _: None, answers.append)
    room.close()
    assert [str(answer) for answer in answers] == ["nothing can be stored: no memory"]
    assert store.clients_sending() == set() and list((tmp_path / "incoming").iterdir()) == []


def test_uploads_that_are_being_sealed_count_as_uploads(tmp_path: Path) -> None:
    room, gate = BackRoom(), threading.Event()
    store = AudioStore(tmp_path, room)
    answers: list[PutAudioReply | RequestError] = []
    room.do(gate.wait, lambda _: None)

    def put(value: int) -> None:
        planar = bytes([value]) * 32
        request = PutAudio(hashlib.sha256(planar).hexdigest(), 4, 0, 4)
        store.put(("", b""), request, (planar,), lambda _: None, answers.append)

    for value in range(MAX_UPLOADS):
        put(value)
    with pytest.raises(LimitExceeded, match="uploads at one time"):
        put(MAX_UPLOADS)
    gate.set()
    room.close()
    assert all(isinstance(answer, PutAudioReply) and answer.complete for answer in answers)
    assert len(answers) == MAX_UPLOADS
