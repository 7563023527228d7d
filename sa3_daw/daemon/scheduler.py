"""Which job runs next: by priority, turn by turn between clients, in the order given within one.

A pure state machine: it knows no socket, no engine and no clock. One job runs at a time. Nobody starves: a
priority that was passed over PATIENCE times in a row gets the next turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from sa3_daw.errors import LimitExceeded
from sa3_daw.job import Job

PRIORITIES = ("audible", "normal", "speculative")
"""Highest first."""
PATIENCE = 8
MAX_PREEMPTIONS = 3
"""After giving way so often a speculative job runs to its end."""

ClientId = tuple[str, bytes]


@dataclass(eq=False)
class Ticket:
    """One admitted job and whose turn it takes; ``client`` is an opaque address."""

    client: ClientId
    job: Job
    num_preemptions: int = 0


class Turns:
    """Queues by priority and client, and who is next."""

    def __init__(self) -> None:
        self._queues: dict[str, OrderedDict[ClientId, deque[Ticket]]] = {name: OrderedDict() for name in PRIORITIES}
        self._passed_over = dict.fromkeys(PRIORITIES, 0)

    def copy(self) -> Turns:
        """Return turns that can be played through without changing these."""
        other = Turns()
        for name, queues in self._queues.items():
            other._queues[name] = OrderedDict((client, deque(queue)) for client, queue in queues.items())
        other._passed_over = dict(self._passed_over)
        return other

    def add(self, ticket: Ticket, *, first: bool = False) -> None:
        """Queue a job behind its client's others of that priority, or before everybody's."""
        queues = self._queues[ticket.job.priority]
        queue = queues.setdefault(ticket.client, deque())
        if first:
            queue.appendleft(ticket)
            queues.move_to_end(ticket.client, last=False)
        else:
            queue.append(ticket)

    def take(self) -> Ticket | None:
        """Take out the next job; its client goes last."""
        waiting = [name for name in PRIORITIES if self._queues[name]]
        if not waiting:
            return None
        overdue = [name for name in waiting if self._passed_over[name] >= PATIENCE]
        chosen = overdue[-1] if overdue else waiting[0]
        self._passed_over[chosen] = 0
        for name in waiting[waiting.index(chosen) + 1 :]:
            self._passed_over[name] += 1
        queues = self._queues[chosen]
        client, queue = next(iter(queues.items()))
        ticket = queue.popleft()
        queues.move_to_end(client)
        self._forget_if_empty(chosen, client)
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """Take out a given job."""
        priority, client = ticket.job.priority, ticket.client
        self._queues[priority][client].remove(ticket)
        self._forget_if_empty(priority, client)

    def has(self, priority: str) -> bool:
        """Tell whether a job of that priority waits."""
        return bool(self._queues[priority])

    def __len__(self) -> int:
        return sum(len(queue) for queues in self._queues.values() for queue in queues.values())

    def _forget_if_empty(self, priority: str, client: ClientId) -> None:
        if not self._queues[priority][client]:
            del self._queues[priority][client]
        if not self._queues[priority]:
            self._passed_over[priority] = 0


class Scheduler:
    """Queued jobs and the running one."""

    def __init__(self, max_queued_jobs: int) -> None:
        self._max_queued_jobs = max_queued_jobs
        self._turns = Turns()
        self.running: Ticket | None = None

    @property
    def num_queued(self) -> int:
        """Jobs that wait."""
        return len(self._turns)

    def submit(self, ticket: Ticket) -> None:
        """Queue a job. Raises LimitExceeded when the queue is full."""
        if self.num_queued >= self._max_queued_jobs:
            allowed = f"at most {self._max_queued_jobs} queued jobs"
            raise LimitExceeded(
                f"the queue is full; {allowed}", field="queue", value=str(self.num_queued), allowed=allowed
            )
        self._turns.add(ticket)

    def start_next(self) -> Ticket | None:
        """Make the next job the running one; None when none waits."""
        assert self.running is None
        self.running = self._turns.take()
        return self.running

    def end_running(self) -> None:
        """The running job has ended, one way or another."""
        self.running = None

    @property
    def wants_preemption(self) -> bool:
        """True when the running job is to give way."""
        running = self.running
        if running is None or running.job.priority != "speculative" or running.num_preemptions >= MAX_PREEMPTIONS:
            return False
        return self._turns.has("audible")

    def requeue_running(self) -> None:
        """The running job has given way; it is the first of its priority to go on."""
        assert self.running is not None
        self.running.num_preemptions += 1
        self._turns.add(self.running, first=True)
        self.running = None

    def remove(self, ticket: Ticket) -> None:
        """Take a queued job out."""
        self._turns.remove(ticket)

    def queued_in_order(self) -> Iterator[Ticket]:
        """Yield the queued jobs in the order in which they will run if nothing else happens."""
        turns = self._turns.copy()
        while (ticket := turns.take()) is not None:
            yield ticket

    def ahead_of(self, ticket: Ticket) -> list[Ticket]:
        """Return the jobs, the running one included, that end before a queued job starts."""
        ahead = [self.running] if self.running is not None else []
        for other in self.queued_in_order():
            if other is ticket:
                break
            ahead.append(other)
        return ahead
