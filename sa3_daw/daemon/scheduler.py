"""Which job runs next: first come first served within a client, turn by turn between clients.

A pure state machine: it knows no socket, no engine and no clock. One job runs at a time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sa3_daw.errors import LimitExceeded
from sa3_daw.job import Job


@dataclass(frozen=True)
class Ticket:
    """One admitted job and whose it is; ``client`` is an opaque address. Job ids are a client's own."""

    client: tuple[str, bytes]
    job: Job


class Scheduler:
    """Queued jobs and the running one."""

    def __init__(self, max_queued_jobs: int) -> None:
        self._max_queued_jobs = max_queued_jobs
        self._queues: OrderedDict[tuple[str, bytes], deque[Ticket]] = OrderedDict()
        self.running: Ticket | None = None

    @property
    def num_queued(self) -> int:
        """Jobs that wait."""
        return sum(map(len, self._queues.values()))

    def submit(self, ticket: Ticket) -> None:
        """Queue a job whose id none of the client's live jobs has. Raises LimitExceeded when the queue is full."""
        assert self.find(ticket.client, ticket.job.job_id) is None
        if self.num_queued >= self._max_queued_jobs:
            allowed = f"at most {self._max_queued_jobs} queued jobs"
            raise LimitExceeded(
                f"the queue is full; {allowed}", field="queue", value=str(self.num_queued), allowed=allowed
            )
        self._queues.setdefault(ticket.client, deque()).append(ticket)

    def start_next(self, may_start: Callable[[tuple[str, bytes]], bool]) -> Ticket | None:
        """Make the next job of the first client in turn that may start the running one; that client goes last."""
        assert self.running is None
        for client in self._queues:
            if may_start(client):
                self.running = self._queues[client].popleft()
                self._queues.move_to_end(client)
                self._forget_if_empty(client)
                return self.running
        return None

    def end_running(self) -> None:
        """The running job has ended, one way or another."""
        self.running = None

    def find(self, client: tuple[str, bytes], job_id: str) -> Ticket | None:
        """Return a client's queued or running job of that id."""
        candidates = [*self._queues.get(client, ())]
        if self.running is not None and self.running.client == client:
            candidates.append(self.running)
        return next((ticket for ticket in candidates if ticket.job.job_id == job_id), None)

    def remove(self, ticket: Ticket) -> None:
        """Take a queued job out."""
        self._queues[ticket.client].remove(ticket)
        self._forget_if_empty(ticket.client)

    def jobs_of(self, client: tuple[str, bytes]) -> list[Ticket]:
        """Return a client's jobs, the running one first."""
        running = [self.running] if self.running is not None and self.running.client == client else []
        return [*running, *self._queues.get(client, ())]

    def queued_in_order(self) -> Iterator[Ticket]:
        """Yield the queued jobs in the order in which they will run if nothing else happens."""
        rounds = [list(queue) for queue in self._queues.values()]
        for turn in range(max(map(len, rounds), default=0)):
            yield from (queue[turn] for queue in rounds if turn < len(queue))

    def position(self, ticket: Ticket) -> int:
        """Return how many jobs, the running one included, end before a queued job starts."""
        ahead = next(index for index, other in enumerate(self.queued_in_order()) if other is ticket)
        return ahead + (self.running is not None)

    def _forget_if_empty(self, client: tuple[str, bytes]) -> None:
        if not self._queues[client]:
            del self._queues[client]
