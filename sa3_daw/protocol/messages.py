"""Every message of the protocol as a frozen dataclass, and the kind each travels under. Knows no bytes, no sockets.

docs/protocol.md is the authority on meaning; a test compares the two. New fields get defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sa3_daw.job import Job


@dataclass(frozen=True)
class Header:
    """Second frame of every message.

    ``seq`` counts a sender's requests, a reply repeats it; in events of a job it counts those from 0.
    ``credit`` is read in ``generate`` only: audio chunks the client is ready to take.
    """

    v: int
    job: str = ""
    seq: int = 0
    credit: int = 0


@dataclass(frozen=True)
class Hello:
    """Ask what the daemon is and can do. ``client`` names the asking program, for logs."""

    client: str = ""


@dataclass(frozen=True)
class Cancel:
    """Stop the job named in the header, wherever it is. Repeating it, or naming an unknown job, is harmless."""


@dataclass(frozen=True)
class Credit:
    """Allow ``num_chunks`` more audio chunks of the job named in the header."""

    num_chunks: int


@dataclass(frozen=True)
class Status:
    """Ask for the engine's state and all jobs."""


@dataclass(frozen=True)
class Shutdown:
    """End the daemon: every job is cancelled, every client told, the engine ended."""


@dataclass(frozen=True)
class ModelInfo:
    """One installed model; ``max_num_samples`` counts at the model's ``sample_rate``."""

    name: str
    sample_rate: int
    max_num_samples: int
    default_steps: int
    default_guidance_scale: float


@dataclass(frozen=True)
class Limits:
    """The largest values a request may carry; beyond them it fails with ``limit_exceeded`` or ``invalid_field``."""

    sample_rates: tuple[int, ...]
    max_prompt_bytes: int
    max_steps: int
    max_guidance_scale: float
    max_tempo_points: int
    max_queued_jobs: int
    max_credit: int
    max_body_bytes: int


@dataclass(frozen=True)
class HelloReply:
    """What this daemon is. ``verbs`` are the request kinds it understands."""

    protocol_version: int
    daemon_version: str
    pid: int
    verbs: tuple[str, ...]
    models: tuple[ModelInfo, ...]
    limits: Limits


@dataclass(frozen=True)
class Accepted:
    """The job is queued, ``position`` jobs run before it; model, steps and guidance are those it will run with.

    ``eta_seconds`` is the expected time until it is finished, absent while nothing is known.
    """

    position: int
    model: str
    steps: int
    guidance_scale: float
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """``step`` of ``num_steps`` of a stage (loading, conditioning, sampling) is done."""

    stage: str
    step: int
    num_steps: int
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Audio:
    """One chunk of the clip, in time order; its samples are the one buffer frame, planar float32."""

    start_sample: int
    num_samples: int
    num_channels: int


@dataclass(frozen=True)
class Finished:
    """The clip is complete: length, levels in dBFS over the clip, seconds spent per stage."""

    num_samples: int
    peak_db: float
    rms_db: float
    timings_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The job has ended without its audio."""

    code: str
    message: str
    field: str = ""
    value: str = ""
    allowed: str = ""


@dataclass(frozen=True)
class Rejected:
    """One message was refused and changed nothing; ``seq`` in the header is that message's, where readable."""

    code: str
    message: str
    field: str = ""
    value: str = ""
    allowed: str = ""


@dataclass(frozen=True)
class Cancelled:
    """The job was stopped; no further audio comes. An outcome, not an error."""


@dataclass(frozen=True)
class CancelReply:
    """Answer to ``cancel``: ``live`` tells whether the job had still to end. Its own last event comes apart."""

    live: bool


@dataclass(frozen=True)
class Alive:
    """Sent each second to clients with live jobs; so both sides notice when the other is gone."""


@dataclass(frozen=True)
class EngineStatus:
    """``state`` is stopped, starting, idle or busy; ``num_deaths`` counts engines that ended unasked."""

    state: str
    pid: int
    num_deaths: int


@dataclass(frozen=True)
class JobStatus:
    """One live job. ``state`` is running, queued, or delivering (computed, its audio waits for credit)."""

    job_id: str
    state: str
    position: int
    model: str
    num_samples: int
    sample_rate: int
    stage: str
    step: int
    num_steps: int


@dataclass(frozen=True)
class StatusReply:
    """The daemon at this moment; ``jobs`` are in the order in which they run."""

    pid: int
    uptime_seconds: float
    num_finished: int
    num_failed: int
    num_cancelled: int
    engine: EngineStatus
    jobs: tuple[JobStatus, ...]


@dataclass(frozen=True)
class ShutdownReply:
    """The daemon is ending; its connection file will be gone."""


@dataclass(frozen=True)
class Ready:
    """An engine's first message to its daemon: it takes jobs from now on."""

    pid: int


REQUESTS: dict[str, type] = {
    "hello": Hello,
    "generate": Job,
    "cancel": Cancel,
    "credit": Credit,
    "status": Status,
    "shutdown": Shutdown,
}

REPLIES: dict[str, type] = {
    "hello_reply": HelloReply,
    "accepted": Accepted,
    "progress": Progress,
    "audio": Audio,
    "finished": Finished,
    "failed": Failed,
    "cancelled": Cancelled,
    "rejected": Rejected,
    "cancel_reply": CancelReply,
    "status_reply": StatusReply,
    "shutdown_reply": ShutdownReply,
    "alive": Alive,
}

ENGINE_ONLY: dict[str, type] = {"ready": Ready}
"""Beside generate, cancel, shutdown (to the engine), progress, audio, finished, failed, cancelled (from it)."""

KINDS = REQUESTS | REPLIES | ENGINE_ONLY

Message = (
    Hello | Job | Cancel | Credit | Status | Shutdown
    | HelloReply | Accepted | Progress | Audio | Finished | Failed | Cancelled | Rejected
    | CancelReply | StatusReply | ShutdownReply | Alive | Ready
)  # fmt: skip

KIND_OF = {message: kind for kind, message in KINDS.items()}

TERMINAL = (Finished, Failed, Cancelled)
"""Each accepted job ends with exactly one of these."""
