"""Delivery: credit holds audio back and nothing else, every client has its own place, the last event comes once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sa3_daw.daemon.delivery import Delivery, Entry, JobLog
from sa3_daw.daemon.forecast import Forecast
from sa3_daw.protocol.framing import decode
from sa3_daw.protocol.messages import Audio, Cancelled, Finished, Progress, Take
from sa3_daw.take import TakeMade
from tests.running_daemon import a_job

CHUNK = Audio(0, 2, 2)
SOUND = bytes(16)
STORED = bytes(range(16))
TAKE = Take("", "", TakeMade(0, 1, 2, 0.0, 0.0, None, None, None))
END = Finished(2, 0.0, 0.0)


def kinds(frames: list[list[bytes]]) -> list[str]:
    return [message[0].decode() for message in frames]


def chunk(draft: bool = False) -> Entry:
    return Entry(Audio(0, 2, 2, draft=draft), lambda: STORED)


def add(log: JobLog, delivery: Delivery, entry: Entry) -> list[list[bytes]]:
    """Add an event the way the daemon does: fresh audio is at hand once, later it is read back."""
    log.add(entry, SOUND if isinstance(entry.message, Audio) else b"")
    sent = list(delivery.due())
    log.settle()
    return sent


def test_audio_waits_for_credit_and_take_and_finished_follow_the_last_of_it() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=1, max_credit=8)
    assert kinds(add(log, delivery, chunk())) == ["audio"]
    assert kinds(add(log, delivery, chunk())) == []
    assert kinds(add(log, delivery, Entry(TAKE))) == []
    assert kinds(add(log, delivery, Entry(END))) == []
    delivery.grant(5)
    assert kinds(list(delivery.due())) == ["audio", "take", "finished"]
    assert delivery.ended


def test_audio_at_hand_is_sent_as_it_is_and_held_audio_is_read_back() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=1, max_credit=8)
    assert add(log, delivery, chunk())[0][3] == SOUND
    assert add(log, delivery, chunk()) == []
    delivery.grant(1)
    assert next(iter(delivery.due()))[3] == STORED


def test_progress_never_waits_behind_held_audio() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=0, max_credit=8)
    add(log, delivery, chunk())
    assert kinds([delivery.tell(Progress("sampling", 1, 2))]) == ["progress"]


def test_nothing_follows_an_end() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=0, max_credit=8)
    add(log, delivery, chunk())
    assert kinds([delivery.tell(Cancelled())]) == ["cancelled"]
    delivery.grant(5)
    assert delivery.ended and list(delivery.due()) == []


def test_credit_beyond_the_limit_is_cut() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=10**9, max_credit=2)
    assert sum(len(add(log, delivery, chunk())) for _ in range(5)) == 2


def test_a_draft_that_waits_is_dropped_once_final_audio_is_there() -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit=1, max_credit=8)
    assert len(add(log, delivery, chunk(draft=True))) == 1
    assert add(log, delivery, chunk(draft=True)) == []
    add(log, delivery, chunk())
    delivery.grant(8)
    rest = [decode(frames) for frames in delivery.due()]
    assert [each.message for each in rest if each] == [CHUNK]


def test_a_client_that_comes_later_gets_everything_from_the_beginning() -> None:
    log = JobLog()
    first = Delivery("j", log, credit=8, max_credit=8)
    for entry in (chunk(), chunk(), Entry(TAKE), Entry(END)):
        add(log, first, entry)
    second = Delivery("j", log, credit=8, max_credit=8)
    assert kinds(list(second.due())) == ["audio", "audio", "take", "finished"]


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 4))
def test_events_are_numbered_without_gap_whatever_the_credit(grants: list[int], credit: int) -> None:
    log = JobLog()
    delivery = Delivery("j", log, credit, max_credit=8)
    sent = [frames for _ in range(6) for frames in add(log, delivery, chunk())]
    sent += add(log, delivery, Entry(END))
    for num_chunks in [*grants, 8]:
        delivery.grant(num_chunks)
        sent += delivery.due()
    received = [decode(frames) for frames in sent]
    assert [each.header.seq for each in received if each] == list(range(7))
    assert kinds(sent) == ["audio"] * 6 + ["finished"]


def test_forecast_knows_nothing_first_and_then_scales_with_length() -> None:
    forecast, job = Forecast(), a_job(num_samples=48000)
    job = type(job)(**{**vars(job), "steps": 4})
    assert forecast.eta_seconds([job], 0.0) is None
    forecast.observe(job, 2.0)
    twice = type(job)(**{**vars(job), "num_samples": 96000})
    assert forecast.eta_seconds([job, twice], 0.5) == 5.5
    assert forecast.eta_seconds([job], 99.0) == 0.0
    assert forecast.etas_seconds([job, twice], 0.5) == [1.5, 5.5]
