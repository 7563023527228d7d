"""Delivery: credit holds audio back and nothing else, and the last event comes last, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sa3_daw.daemon.delivery import Delivery
from sa3_daw.daemon.forecast import Forecast
from sa3_daw.protocol.framing import decode
from sa3_daw.protocol.messages import Audio, Cancelled, Failed, Finished, Progress
from tests.running_daemon import a_job

CHUNK = Audio(0, 2, 2)
SOUND = bytes(16)
END = Finished(2, 0.0, 0.0)


def kinds(frames: list[list[bytes]]) -> list[str]:
    return [message[0].decode() for message in frames]


def test_audio_waits_for_credit_and_finished_follows_the_last_of_it() -> None:
    delivery = Delivery("j", credit=1, max_credit=8)
    assert kinds(delivery.offer(CHUNK, SOUND)) == ["audio"]
    assert kinds(delivery.offer(CHUNK, SOUND)) == []
    assert kinds(delivery.offer(END)) == []
    assert delivery.held_bytes == len(SOUND)
    assert kinds(delivery.grant(5)) == ["audio", "finished"]
    assert delivery.ended and delivery.held_bytes == 0


def test_progress_never_waits_behind_held_audio() -> None:
    delivery = Delivery("j", credit=0, max_credit=8)
    delivery.offer(CHUNK, SOUND)
    assert kinds(delivery.offer(Progress("sampling", 1, 2))) == ["progress"]


def test_cancelled_and_failed_drop_held_audio() -> None:
    for end in (Cancelled(), Failed("engine_dead", "gone")):
        delivery = Delivery("j", credit=0, max_credit=8)
        delivery.offer(CHUNK, SOUND)
        assert len(delivery.offer(end)) == 1
        assert delivery.ended and delivery.held_bytes == 0


def test_credit_beyond_the_limit_is_cut() -> None:
    delivery = Delivery("j", credit=10**9, max_credit=2)
    assert sum(len(delivery.offer(CHUNK, SOUND)) for _ in range(5)) == 2


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 4))
def test_events_are_numbered_without_gap_whatever_the_credit(grants: list[int], credit: int) -> None:
    delivery = Delivery("j", credit, max_credit=8)
    sent = [frames for _ in range(6) for frames in delivery.offer(CHUNK, SOUND)]
    sent += delivery.offer(END)
    for num_chunks in [*grants, 8]:
        if not delivery.ended:
            sent += delivery.grant(num_chunks)
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
