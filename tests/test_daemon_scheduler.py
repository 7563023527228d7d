"""The scheduler: turns between clients, order within one, positions that come true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa3_daw.daemon.scheduler import Scheduler, Ticket
from sa3_daw.errors import LimitExceeded
from tests.running_daemon import a_job

A, B, C = (("ipc", name) for name in (b"a", b"b", b"c"))


def ticket(client: tuple[str, bytes], number: int) -> Ticket:
    return Ticket(client, a_job(job_id=f"{client[1].decode()}{number}"))


def everyone(_: tuple[str, bytes]) -> bool:
    return True


def run_order(scheduler: Scheduler) -> list[str]:
    order = []
    while (started := scheduler.start_next(everyone)) is not None:
        order.append(started.job.job_id)
        scheduler.end_running()
    return order


def test_a_client_with_many_jobs_does_not_delay_another_by_more_than_one() -> None:
    scheduler = Scheduler(100)
    for number in range(10):
        scheduler.submit(ticket(A, number))
    scheduler.submit(ticket(B, 0))
    assert run_order(scheduler)[:3] == ["a0", "b0", "a1"]


def test_one_clients_jobs_run_in_the_order_given() -> None:
    scheduler = Scheduler(100)
    for number in range(5):
        scheduler.submit(ticket(A, number))
    assert run_order(scheduler) == ["a0", "a1", "a2", "a3", "a4"]


def test_a_client_that_asks_again_after_its_turn_goes_last() -> None:
    scheduler = Scheduler(100)
    for client in (A, B, C):
        scheduler.submit(ticket(client, 0))
    assert scheduler.start_next(everyone)
    scheduler.submit(ticket(A, 1))
    scheduler.end_running()
    assert run_order(scheduler) == ["b0", "c0", "a1"]


def test_the_queue_has_a_limit_that_the_running_job_does_not_count_for() -> None:
    scheduler = Scheduler(2)
    scheduler.submit(ticket(A, 0))
    assert scheduler.start_next(everyone)
    scheduler.submit(ticket(A, 1))
    scheduler.submit(ticket(A, 2))
    with pytest.raises(LimitExceeded, match="at most 2"):
        scheduler.submit(ticket(B, 0))


def test_a_client_that_may_not_start_lets_the_others_pass() -> None:
    scheduler = Scheduler(10)
    scheduler.submit(ticket(A, 0))
    scheduler.submit(ticket(B, 0))
    started = scheduler.start_next(lambda client: client != A)
    assert started is not None and started.client == B
    scheduler.end_running()
    assert scheduler.start_next(lambda client: client != A) is None
    assert run_order(scheduler) == ["a0"]


def test_a_removed_job_never_runs() -> None:
    scheduler = Scheduler(10)
    gone = ticket(A, 0)
    scheduler.submit(gone)
    scheduler.submit(ticket(A, 1))
    scheduler.remove(gone)
    assert scheduler.find(A, "a0") is None
    assert run_order(scheduler) == ["a1"]


@given(st.lists(st.sampled_from([A, B, C]), max_size=20), st.integers(0, 3))
def test_announced_positions_come_true_and_nothing_is_lost(clients: list[tuple[str, bytes]], num_started: int) -> None:
    scheduler = Scheduler(100)
    tickets = [ticket(client, number) for number, client in enumerate(clients)]
    for each in tickets:
        scheduler.submit(each)
    for _ in range(num_started):
        if scheduler.start_next(everyone):
            scheduler.end_running()
    waiting = list(scheduler.queued_in_order())
    positions = [scheduler.position(each) for each in waiting]
    assert positions == list(range(len(waiting)))
    assert run_order(scheduler) == [each.job.job_id for each in waiting]
    assert len(waiting) == max(0, len(tickets) - num_started)
