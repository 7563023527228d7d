"""What the daemon says of itself: the answers to hello and status. Knows no socket."""

from __future__ import annotations

import os

from sa3_daw import __version__
from sa3_daw.catalogue import list_models
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.admission import limits
from sa3_daw.daemon.scheduler import Scheduler, Ticket
from sa3_daw.protocol.messages import REQUESTS, HelloReply, JobStatus, ModelInfo, Progress
from sa3_daw.protocol.version import PROTOCOL_VERSION

NO_PROGRESS = Progress("", 0, 0)


def hello_reply(config: DaemonConfig) -> HelloReply:
    """Return the daemon's version, verbs, models and limits."""
    models = tuple(
        ModelInfo(
            name=entry.name,
            sample_rate=entry.spec.sample_rate,
            max_num_samples=entry.spec.max_num_samples,
            default_steps=entry.spec.default_steps,
            default_guidance_scale=entry.spec.default_guidance_scale,
        )
        for entry in list_models(config)
    )
    return HelloReply(PROTOCOL_VERSION, __version__, os.getpid(), tuple(REQUESTS), models, limits(config))


def all_jobs(scheduler: Scheduler, progress: Progress, delivering: list[Ticket]) -> tuple[JobStatus, ...]:
    """Return every live job, in the order in which they run; ``progress`` is the running one's."""
    running = [scheduler.running] if scheduler.running else []
    queued = enumerate(scheduler.queued_in_order(), len(running))
    return (
        *(job_status(ticket, "delivering", 0, NO_PROGRESS) for ticket in delivering),
        *(job_status(ticket, "running", 0, progress) for ticket in running),
        *(job_status(ticket, "queued", position, NO_PROGRESS) for position, ticket in queued),
    )


def job_status(ticket: Ticket, state: str, position: int, progress: Progress) -> JobStatus:
    """Return one line of the list."""
    return JobStatus(
        job_id=ticket.job.job_id,
        state=state,
        position=position,
        model=ticket.job.model,
        num_samples=ticket.job.num_samples,
        sample_rate=ticket.job.sample_rate,
        stage=progress.stage,
        step=progress.step,
        num_steps=progress.num_steps,
    )
