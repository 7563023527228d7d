"""The scheduler: priorities, turns between clients, order within one, positions that come true, nobody starves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa3_daw.daemon.scheduler import MAX_PREEMPTIONS, PATIENCE, PRIORITIES, Scheduler, Ticket
from sa3_daw.errors import LimitExceeded
from tests.running_daemon import a_job

A, B, C = (("ipc", name) for name in (b"a", b"b", b"c"))


def ticket(client: tuple[str, bytes], number: int, priority: str = "normal") -> Ticket:
    return Ticket(client, replace(a_job(job_id=f"{client[1].decode()}{number}"), priority=priority))


def run_order(scheduler: Scheduler) -> list[str]:
    order = []
    while (started := scheduler.start_next()) is not None:
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
    assert scheduler.start_next()
    scheduler.submit(ticket(A, 1))
    scheduler.end_running()
    assert run_order(scheduler) == ["b0", "c0", "a1"]


def test_audible_goes_before_normal_before_speculative() -> None:
    scheduler = Scheduler(100)
    for number, priority in enumerate(("speculative", "normal", "audible", "normal")):
        scheduler.submit(ticket(A, number, priority))
    assert run_order(scheduler) == ["a2", "a1", "a3", "a0"]


def test_a_flood_of_audible_jobs_starves_no_other_client() -> None:
    scheduler = Scheduler(1000)
    for number in range(100):
        scheduler.submit(ticket(A, number, "audible"))
    scheduler.submit(ticket(B, 0, "normal"))
    scheduler.submit(ticket(C, 0, "speculative"))
    order = run_order(scheduler)
    assert order.index("b0") <= PATIENCE + 1
    assert order.index("c0") <= PATIENCE + 1


def test_every_client_gets_its_share() -> None:
    scheduler = Scheduler(1000)
    clients = [("ipc", bytes([65 + number])) for number in range(10)]
    for number, client in enumerate(clients):
        for job in range(5 * (number + 1)):
            scheduler.submit(ticket(client, job))
    shares = [name[0] for name in run_order(scheduler)[:50]]
    assert {shares.count(name) for name in set(shares)} == {5} and len(set(shares)) == 10


def test_speculative_work_gives_way_to_audible_work_and_goes_on_first() -> None:
    scheduler = Scheduler(10)
    scheduler.submit(ticket(A, 0, "speculative"))
    scheduler.submit(ticket(A, 1, "speculative"))
    assert scheduler.start_next() and not scheduler.wants_preemption
    scheduler.submit(ticket(B, 0, "normal"))
    assert not scheduler.wants_preemption
    scheduler.submit(ticket(C, 0, "audible"))
    assert scheduler.wants_preemption
    scheduler.requeue_running()
    assert run_order(scheduler) == ["c0", "b0", "a0", "a1"]


def test_a_job_that_gave_way_often_is_left_alone() -> None:
    scheduler = Scheduler(100)
    scheduler.submit(ticket(A, 0, "speculative"))
    for number in range(MAX_PREEMPTIONS):
        assert scheduler.start_next()
        scheduler.submit(ticket(B, number, "audible"))
        assert scheduler.wants_preemption
        scheduler.requeue_running()
        assert scheduler.start_next()
        scheduler.end_running()
    assert scheduler.start_next()
    scheduler.submit(ticket(B, 9, "audible"))
    assert not scheduler.wants_preemption


def test_the_queue_has_a_limit_that_the_running_job_does_not_count_for() -> None:
    scheduler = Scheduler(2)
    scheduler.submit(ticket(A, 0))
    assert scheduler.start_next()
    scheduler.submit(ticket(A, 1))
    scheduler.submit(ticket(A, 2))
    with pytest.raises(LimitExceeded, match="at most 2"):
        scheduler.submit(ticket(B, 0))


def test_a_removed_job_never_runs() -> None:
    scheduler = Scheduler(10)
    gone = ticket(A, 0)
    scheduler.submit(gone)
    scheduler.submit(ticket(A, 1))
    scheduler.remove(gone)
    assert run_order(scheduler) == ["a1"]


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(PRIORITIES)), max_size=30), st.integers(0, 12))
def test_announced_positions_come_true_and_nothing_is_lost(
    jobs: list[tuple[tuple[str, bytes], str]], num_started: int
) -> None:
    scheduler = Scheduler(100)
    for number, (client, priority) in enumerate(jobs):
        scheduler.submit(ticket(client, number, priority))
    for _ in range(num_started):
        if scheduler.start_next():
            scheduler.end_running()
    waiting = list(scheduler.queued_in_order())
    assert [len(scheduler.ahead_of(each)) for each in waiting] == list(range(len(waiting)))
    assert run_order(scheduler) == [each.job.job_id for each in waiting]
    assert len(waiting) == max(0, len(jobs) - num_started)
