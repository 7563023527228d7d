"""What of jobs is on the disk when a daemon dies, and what the next one makes of it. The engine is this test."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sa3_daw.config import load_config
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.jobs import Jobs
from sa3_daw.daemon.journal import Journal, run_name
from sa3_daw.daemon.spool import AudioSpool, spool_path
from sa3_daw.errors import EngineError
from sa3_daw.job import Job
from sa3_daw.protocol.framing import Received
from sa3_daw.protocol.messages import Audio, Cancelled, Finished, Header, ListTakes, Made, Message, TakeInfo
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.take import TakeMade
from tests.running_daemon import a_job, wait_for

HEADER = Header(PROTOCOL_VERSION, credit=100)


class Daemon:
    """A front without sockets. One that is not closed and looked at no more is as good as killed."""

    def __init__(self, folder: Path, *, disk_waits_for: threading.Event | None = None) -> None:
        self.back_room = BackRoom()
        if disk_waits_for is not None:
            self.let_disk_wait(disk_waits_for)
        audio = AudioStore(folder, self.back_room)
        handle = SimpleNamespace(state="idle", policy=SimpleNamespace(hopeless=False))
        self.broken_off: list[str] = []
        engine: Any = SimpleNamespace(
            is_hopeless=False,
            is_occupied=False,
            make_ready=lambda: True,
            run=lambda _: None,
            stop=lambda: None,
            expect=lambda _: None,
            break_off=self.broken_off.append,
            handle=handle,
        )
        config = replace(load_config(environment={}), data_dir=folder)
        self.jobs = Jobs(config, engine, lambda *_: True, audio, Journal(folder), self.back_room)
        self.jobs.open()

    def let_disk_wait(self, gate: threading.Event) -> None:
        self.back_room.do(gate.wait, lambda _: None)

    def submit(self, job: Job) -> None:
        self.jobs.submit(("", b""), replace(HEADER, job=job.job_id), job)
        self.jobs.move_on()

    def hear(self, message: Message, *buffers: bytes) -> None:
        """Take an event of the running job."""
        self.jobs.engine_event(Received(HEADER, message, buffers))

    def takes(self) -> tuple[TakeInfo, ...]:
        return self.jobs.takes.search(ListTakes())

    def settle_until(self, what: str, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.back_room.settle()
            return condition()

        wait_for(what, holds)


def small_job(num_samples: int, **changes: Any) -> Job:
    return replace(a_job(num_samples=num_samples), steps=2, **changes)


def made(num_samples: int, variation: int = 0) -> TakeMade:
    return TakeMade(variation, 7 + variation, num_samples, -6.0, -9.0, None, None, None)


def audio(num_samples: int, variation: int = 0, first: int = 0) -> tuple[Audio, bytes]:
    return Audio(0, num_samples, 2, variation), bytes(range(first, first + 8 * num_samples))


def live_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "live").iterdir())


def leave_a_take_without_audio(folder: Path) -> Path:
    """Leave what a daemon leaves that was killed between recipe and audio; return where the audio is to be."""
    daemon, job = Daemon(folder), small_job(4)
    daemon.submit(job)
    daemon.hear(*audio(4))
    daemon.hear(Made(made(4)))
    daemon.hear(Finished(4, -6.0, -9.0, {}))
    daemon.settle_until("the take", lambda: len(daemon.takes()) == 1)
    daemon.jobs.close()
    (stored,) = (folder / "audio").glob("*/*.f32")
    stored.rename(spool_path(folder / "incoming", f"{run_name(job)}.0", 4))
    (folder / "live" / f"{run_name(job)}.ended").write_bytes(msgspec.json.encode(job))
    return stored


def test_a_take_without_audio_gets_it_and_the_store_is_well(tmp_path: Path) -> None:
    stored = leave_a_take_without_audio(tmp_path)
    daemon = Daemon(tmp_path)
    (before,) = daemon.takes()
    daemon.jobs.takes.problem = "what another take had"
    daemon.settle_until("its audio", stored.is_file)
    assert daemon.takes() == (before,) and not before.interrupted and daemon.jobs.takes.problem == ""
    daemon.jobs.close()
    assert not live_files(tmp_path) and not list((tmp_path / "incoming").iterdir())


def test_a_take_whose_audio_cannot_be_put_in_its_place_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_take_without_audio(tmp_path)

    def full(spool: AudioSpool, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AudioSpool, "move_to", full)
    daemon = Daemon(tmp_path)
    daemon.settle_until("the job is forgotten", lambda: not live_files(tmp_path))
    assert daemon.takes() == () and "No space left" in daemon.jobs.takes.problem
    daemon.jobs.close()


def test_a_recipe_that_a_full_disk_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, job = Daemon(tmp_path), small_job(4)
    daemon.submit(job)
    daemon.hear(*audio(4))

    def full(descriptor: int) -> None:
        if "/takes/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    daemon.hear(Made(made(4)))
    daemon.hear(Finished(4, -6.0, -9.0, {}))
    daemon.settle_until("the job is forgotten", lambda: not live_files(tmp_path))
    daemon.jobs.close()
    assert not list((tmp_path / "takes").iterdir()) and not list((tmp_path / "incoming").iterdir())


def test_a_job_sent_again_while_its_whole_take_is_taken_up_has_that_take_once(tmp_path: Path) -> None:
    never, slow = threading.Event(), threading.Event()
    daemon, job = Daemon(tmp_path, disk_waits_for=never), small_job(8)
    daemon.submit(job)
    daemon.hear(*audio(8))
    daemon.hear(Made(made(8)))
    successor = Daemon(tmp_path, disk_waits_for=slow)
    successor.submit(job)
    assert successor.jobs.is_live(job.job_id)
    successor.hear(*audio(8))
    successor.hear(Made(made(8)))
    successor.hear(Finished(8, -6.0, -9.0, {}))
    slow.set()
    successor.settle_until("the job ends", lambda: not successor.jobs.is_live(job.job_id))
    successor.settle_until("all is stored", lambda: not live_files(tmp_path))
    assert [(take.made.variation, take.interrupted) for take in successor.takes()] == [(0, False)]
    successor.jobs.close()
    never.set()


def test_a_second_job_of_a_free_id_never_lends_its_samples_to_the_first(tmp_path: Path) -> None:
    never = threading.Event()
    daemon = Daemon(tmp_path, disk_waits_for=never)
    one = small_job(8)
    other = replace(one, prompt="other", seed=8)
    daemon.submit(one)
    daemon.hear(*audio(4))
    daemon.jobs.cancel(one.job_id)
    daemon.submit(other)
    daemon.hear(*audio(8, first=100))
    daemon.hear(Made(made(8)))
    successor = Daemon(tmp_path)
    successor.settle_until("both takes", lambda: len(successor.takes()) == 2)
    recipes = {take.take_id: successor.jobs.takes.get(take.take_id).job for take in successor.takes()}
    found = {recipes[take.take_id].prompt: (take.made.num_samples, take.interrupted) for take in successor.takes()}
    assert found == {one.prompt: (4, True), "other": (8, False)}
    successor.jobs.close()
    never.set()


def test_notes_of_a_run_outlive_an_earlier_run_of_the_same_job(tmp_path: Path) -> None:
    first, never = threading.Event(), threading.Event()
    daemon, job = Daemon(tmp_path, disk_waits_for=first), small_job(8)
    daemon.submit(job)
    daemon.hear(*audio(4))
    daemon.jobs.cancel(job.job_id)
    daemon.submit(job)
    daemon.let_disk_wait(never)
    daemon.hear(*audio(8))
    daemon.hear(Made(made(8)))
    first.set()
    daemon.settle_until("the first run's take", lambda: len(daemon.takes()) == 1)
    successor = Daemon(tmp_path)
    successor.settle_until("the second run's take", lambda: len(successor.takes()) == 2)
    assert {(take.made.num_samples, take.interrupted) for take in successor.takes()} == {(4, True), (8, False)}
    successor.jobs.close()
    never.set()


def test_notes_of_runs_with_other_numbers_of_variations_go_with_them(tmp_path: Path) -> None:
    gate = threading.Event()
    daemon = Daemon(tmp_path, disk_waits_for=gate)
    three = small_job(4, num_variations=3)
    one = replace(three, num_variations=1, prompt="other")
    for job, variations in ((three, (0, 1)), (one, (0,))):
        daemon.submit(job)
        for variation in variations:
            daemon.hear(*audio(4, variation, first=10 * variation + job.num_variations))
            daemon.hear(Made(made(4, variation)))
        daemon.jobs.cancel(job.job_id)
    gate.set()
    daemon.settle_until("the takes", lambda: len(daemon.takes()) == 3)
    daemon.jobs.close()
    assert not live_files(tmp_path)


def test_notes_of_jobs_that_are_known_no_more_are_cleared_away(tmp_path: Path) -> None:
    journal, job = Journal(tmp_path), small_job(4)
    journal.accepted(job)
    journal.complete(job, made(4))
    (tmp_path / "live" / f"{run_name(job)}.json").unlink()
    Daemon(tmp_path).jobs.close()
    assert not live_files(tmp_path)


def test_an_engine_that_cancels_a_job_unasked_has_broken_the_protocol(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.submit(small_job(4))
    daemon.hear(Cancelled())
    assert daemon.broken_off == [EngineError("the engine cancelled a job that nobody had cancelled").message]
    daemon.jobs.close()
