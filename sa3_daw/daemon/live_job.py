"""One job's state from its acceptance to its last event: who follows it, what it made. Knows no queue."""

from __future__ import annotations

from time import monotonic

from sa3_daw.daemon.client_sockets import Address
from sa3_daw.daemon.delivery import Delivery, JobLog
from sa3_daw.daemon.recorder import Recorder
from sa3_daw.daemon.scheduler import Ticket
from sa3_daw.job import Job
from sa3_daw.protocol import messages as msg

NO_PROGRESS = msg.Progress("", 0, 0)


class LiveJob:
    """One job that has not ended for everybody yet."""

    def __init__(self, ticket: Ticket, recorder: Recorder | None) -> None:
        """``recorder`` None: its stored result is replayed."""
        self.ticket = ticket
        self.recorder = recorder
        self.log = JobLog()
        self.deliveries: dict[Address, Delivery] = {}
        self.progress = NO_PROGRESS
        self.is_computed = False
        self.finished: msg.Finished | None = None
        """The engine's last word, until all takes are stored and it is in the log."""
        self.accepted_at = monotonic()
        self.started_at = self.computed_at = 0.0
        self.timings_seconds: dict[str, float] = {}

    @property
    def job(self) -> Job:
        """What was asked."""
        return self.ticket.job

    @property
    def recorder_of_run(self) -> Recorder:
        """The recorder of a job that the engine runs; it has one."""
        assert self.recorder is not None
        return self.recorder

    def end(self, last: msg.Finished | msg.Failed | msg.Cancelled) -> msg.JobEnd:
        """Return what is remembered of it."""
        outcome = {msg.Finished: "finished", msg.Failed: "failed", msg.Cancelled: "cancelled"}[type(last)]
        now = monotonic()
        started = self.started_at or now
        return msg.JobEnd(
            job_id=self.job.job_id,
            outcome=outcome,
            code=last.code if isinstance(last, msg.Failed) else "",
            model=self.job.model,
            num_samples=self.job.num_samples,
            sample_rate=self.job.sample_rate,
            waited_seconds=round(started - self.accepted_at, 3),
            ran_seconds=round((self.computed_at or now) - started, 3),
            timings_seconds=self.timings_seconds,
        )

    def audio_in_use(self) -> set[str]:
        """Return the stored audio it needs while it lives."""
        if self.recorder is not None:
            return self.recorder.addresses
        return {entry.message.audio for entry in self.log.entries if isinstance(entry.message, msg.Take)}

    def status(self, state: str, position: int, eta_seconds: float | None) -> msg.JobStatus:
        """Return its line in a status."""
        progress = self.progress if state == "running" else NO_PROGRESS
        return msg.JobStatus(
            job_id=self.job.job_id,
            state=state,
            position=position,
            model=self.job.model,
            num_samples=self.job.num_samples,
            sample_rate=self.job.sample_rate,
            stage=progress.stage,
            step=progress.step,
            num_steps=progress.num_steps,
            priority=self.job.priority,
            durable=self.job.durable,
            eta_seconds=eta_seconds,
        )
