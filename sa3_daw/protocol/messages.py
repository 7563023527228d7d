"""Every message of the protocol as a frozen dataclass, and the kind each travels under. Knows no bytes, no sockets.

docs/protocol.md is the authority on meaning; a test compares the two. New fields get defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sa3_daw.job import Job
from sa3_daw.take import TakeMade


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
class PutAudio:
    """Store one piece of stereo audio of ``num_samples`` in all; the buffer is the piece, planar.

    Pieces come in time order. The audio is stored when the last has come and its hash is ``audio``.
    """

    audio: str
    num_samples: int
    start_sample: int
    chunk_num_samples: int


@dataclass(frozen=True)
class HasAudio:
    """Ask whether audio is stored."""

    audio: str


@dataclass(frozen=True)
class GetAudio:
    """Ask for a part of stored audio."""

    audio: str
    start_sample: int
    num_samples: int


@dataclass(frozen=True)
class ListTakes:
    """Ask for stored takes, newest first. Empty texts, ``starred`` false and ``before`` "" narrow nothing."""

    text: str = ""
    tag: str = ""
    starred: bool = False
    limit: int = 100
    before: str = ""


@dataclass(frozen=True)
class GetTake:
    """Ask for one take and the job that makes it again."""

    take_id: str


@dataclass(frozen=True)
class ChangeTake:
    """Star or unstar a take (None: leave it), add and remove tags."""

    take_id: str
    starred: bool | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeleteTake:
    """Forget a take, starred or not, and its audio unless another take needs it."""

    take_id: str


@dataclass(frozen=True)
class CollectGarbage:
    """Delete the oldest unstarred takes until the store holds at most ``budget_mb`` (None: as configured)."""

    budget_mb: int | None = None


@dataclass(frozen=True)
class LoadModel:
    """Make a model resident and keep it so for at least ``keep_alive_seconds``."""

    model: str
    keep_alive_seconds: float = 0.0


@dataclass(frozen=True)
class UnloadModel:
    """Free a model's memory now, or once the running job has ended."""

    model: str


@dataclass(frozen=True)
class ModelInfo:
    """One installed model; ``max_num_samples`` counts at the model's ``sample_rate``; longer clips are chained.

    ``precision`` is what it runs in, "auto" until the engine has chosen.
    """

    name: str
    sample_rate: int
    max_num_samples: int
    default_steps: int
    default_guidance_scale: float
    default_sampler: str = ""
    samplers: tuple[str, ...] = ()
    headroom_seconds: float = 0.0
    precision: str = "auto"


@dataclass(frozen=True)
class AdapterInfo:
    """One installed adapter: the model it was trained on ("" unknown) and its kind, such as lora or dora-rows."""

    name: str
    base_model: str
    kind: str


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
    max_clip_seconds: int
    max_rolls: int
    max_regions: int
    max_adapters: int
    max_buffer_bytes: int
    max_listed_takes: int
    max_tags: int
    max_tag_bytes: int


@dataclass(frozen=True)
class HelloReply:
    """What this daemon is. ``verbs`` are the request kinds it understands.

    ``device``, ``precision`` and ``is_compiled`` are what its engine was told at its start; a resident model tells what
    "auto" became.
    """

    protocol_version: int
    daemon_version: str
    pid: int
    verbs: tuple[str, ...]
    models: tuple[ModelInfo, ...]
    limits: Limits
    adapters: tuple[AdapterInfo, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    is_compiled: bool = False


@dataclass(frozen=True)
class Accepted:
    """The job is queued, ``position`` jobs run before it; the rest are the values it will run with.

    ``eta_seconds`` is the expected time until it is finished, absent while nothing is known. ``chained``: longer than
    the model, made of several windows. ``replayed``: not queued, its stored result follows. ``prompt`` has the model's
    prefix.
    """

    position: int
    model: str
    steps: int
    guidance_scale: float
    eta_seconds: float | None = None
    apg_scale: float | None = None
    sampler: str = ""
    headroom_seconds: float | None = None
    chained: bool = False
    replayed: bool = False
    prompt: str = ""


@dataclass(frozen=True)
class Progress:
    """``step`` of ``num_steps`` of a stage is done; docs/protocol.md names the stages."""

    stage: str
    step: int
    num_steps: int
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Audio:
    """One chunk of a variation, in time order; its samples are the one buffer frame, planar float32."""

    start_sample: int
    num_samples: int
    num_channels: int
    variation: int = 0
    draft: bool = False


@dataclass(frozen=True)
class Take:
    """One variation is complete and stored under these names; both are empty and ``problem`` says why if it is not."""

    take_id: str
    audio: str
    made: TakeMade
    problem: str = ""


@dataclass(frozen=True)
class Finished:
    """The job is complete: the clip's length, the first variation's levels in dBFS, seconds spent per stage."""

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
class PutAudioReply:
    """Pieces up to ``num_received_samples`` are here; ``complete`` when the audio is stored."""

    audio: str
    num_received_samples: int
    complete: bool


@dataclass(frozen=True)
class HasAudioReply:
    """``num_samples`` is 0 when it is not stored."""

    have: bool
    num_samples: int


@dataclass(frozen=True)
class GetAudioReply:
    """A part of stored audio; its samples are the one buffer frame, planar float32."""

    audio: str
    start_sample: int
    num_samples: int
    total_num_samples: int
    num_channels: int


@dataclass(frozen=True)
class TakeInfo:
    """One stored take. ``parents`` are the takes its source was; ``interrupted``: its job ended before it was whole.

    ``created_seconds`` counts from 1970 in UTC by the clock of that moment; ids alone give the order.
    """

    take_id: str
    audio: str
    job_id: str
    created_seconds: float
    model: str
    prompt: str
    sample_rate: int
    made: TakeMade
    source: str = ""
    parents: tuple[str, ...] = ()
    starred: bool = False
    tags: tuple[str, ...] = ()
    interrupted: bool = False
    daemon_version: str = ""


@dataclass(frozen=True)
class ListTakesReply:
    """Newest first."""

    takes: tuple[TakeInfo, ...]


@dataclass(frozen=True)
class GetTakeReply:
    """``job`` is the recipe: submitted again under a new id it makes the take again."""

    take: TakeInfo
    job: Job


@dataclass(frozen=True)
class ChangeTakeReply:
    """The take as it is now."""

    take: TakeInfo


@dataclass(frozen=True)
class DeleteTakeReply:
    """``deleted`` is false when there was no such take."""

    deleted: bool


@dataclass(frozen=True)
class CollectGarbageReply:
    """What was deleted."""

    num_takes: int
    num_bytes: int


@dataclass(frozen=True)
class ResidentModel:
    """A model in memory; ``num_bytes`` are its weights', ``precision_reason`` says why it runs as it does."""

    name: str
    device: str
    precision: str
    num_bytes: int
    precision_reason: str = ""


@dataclass(frozen=True)
class LoadModelReply:
    """The model is resident, as are these."""

    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class UnloadModelReply:
    """These are still resident."""

    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class Alive:
    """Sent each second to clients with live jobs; so both sides notice when the other is gone."""


@dataclass(frozen=True)
class EngineStatus:
    """``state`` is stopped, starting, idle or busy; ``num_deaths`` counts engines that ended unasked.

    ``num_bytes`` is the process's resident memory, 0 where the system does not tell.
    """

    state: str
    pid: int
    num_deaths: int
    num_bytes: int = 0
    models: tuple[ResidentModel, ...] = ()


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
    priority: str = "normal"
    durable: bool = False
    eta_seconds: float | None = None


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: ``outcome`` is finished, failed (then ``code``) or cancelled."""

    job_id: str
    outcome: str
    code: str
    model: str
    num_samples: int
    sample_rate: int
    waited_seconds: float
    ran_seconds: float
    timings_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageTimes:
    """Seconds that finished jobs spent in one stage. ``counts[i]`` jobs took at most ``bounds_seconds[i]``,
    and more than the bound before; the last count is of those beyond every bound."""

    stage: str
    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float


@dataclass(frozen=True)
class StoreStatus:
    """Stored takes and audio. ``budget_bytes`` 0 is none; ``problem`` says why nothing can be stored."""

    num_takes: int
    num_bytes: int
    budget_bytes: int
    problem: str = ""


@dataclass(frozen=True)
class StatusReply:
    """The daemon at this moment; ``jobs`` are in the order in which they run, ``ended`` the latest first."""

    pid: int
    uptime_seconds: float
    num_finished: int
    num_failed: int
    num_cancelled: int
    engine: EngineStatus
    jobs: tuple[JobStatus, ...]
    num_bytes: int
    store: StoreStatus
    stages: tuple[StageTimes, ...]
    ended: tuple[JobEnd, ...]


@dataclass(frozen=True)
class ShutdownReply:
    """The daemon is ending; its connection file will be gone."""


@dataclass(frozen=True)
class Ready:
    """An engine's first message to its daemon: it takes jobs from now on."""

    pid: int


@dataclass(frozen=True)
class Made:
    """All audio of one variation has been sent; the daemon stores it and sends ``take``."""

    made: TakeMade


@dataclass(frozen=True)
class Residency:
    """An engine's models in memory, sent whenever they change."""

    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class Expect:
    """To an engine: a job that may come, with a source that can be encoded while nothing else is to be done."""

    job: Job


@dataclass(frozen=True)
class LatentsWritten:
    """An engine has put so many bytes of latents beside the stored audio since it last told."""

    num_bytes: int


REQUESTS: dict[str, type] = {
    "hello": Hello,
    "generate": Job,
    "cancel": Cancel,
    "credit": Credit,
    "put_audio": PutAudio,
    "has_audio": HasAudio,
    "get_audio": GetAudio,
    "list_takes": ListTakes,
    "get_take": GetTake,
    "change_take": ChangeTake,
    "delete_take": DeleteTake,
    "collect_garbage": CollectGarbage,
    "load_model": LoadModel,
    "unload_model": UnloadModel,
    "status": Status,
    "shutdown": Shutdown,
}

REPLIES: dict[str, type] = {
    "hello_reply": HelloReply,
    "accepted": Accepted,
    "progress": Progress,
    "audio": Audio,
    "take": Take,
    "finished": Finished,
    "failed": Failed,
    "cancelled": Cancelled,
    "rejected": Rejected,
    "cancel_reply": CancelReply,
    "put_audio_reply": PutAudioReply,
    "has_audio_reply": HasAudioReply,
    "get_audio_reply": GetAudioReply,
    "list_takes_reply": ListTakesReply,
    "get_take_reply": GetTakeReply,
    "change_take_reply": ChangeTakeReply,
    "delete_take_reply": DeleteTakeReply,
    "collect_garbage_reply": CollectGarbageReply,
    "load_model_reply": LoadModelReply,
    "unload_model_reply": UnloadModelReply,
    "status_reply": StatusReply,
    "shutdown_reply": ShutdownReply,
    "alive": Alive,
}

ENGINE_ONLY: dict[str, type] = {
    "ready": Ready,
    "made": Made,
    "residency": Residency,
    "expect": Expect,
    "latents_written": LatentsWritten,
}
"""Beside generate, cancel, load_model, unload_model, shutdown (to the engine), progress, audio, finished, failed,
cancelled, load_model_reply, unload_model_reply and rejected (from it)."""

KINDS = REQUESTS | REPLIES | ENGINE_ONLY

Message = (
    Hello | Job | Cancel | Credit | PutAudio | HasAudio | GetAudio | ListTakes | GetTake | ChangeTake | DeleteTake
    | CollectGarbage | LoadModel | UnloadModel | Status | Shutdown
    | HelloReply | Accepted | Progress | Audio | Take | Finished | Failed | Cancelled | Rejected | CancelReply
    | PutAudioReply | HasAudioReply | GetAudioReply | ListTakesReply | GetTakeReply | ChangeTakeReply | DeleteTakeReply
    | CollectGarbageReply | LoadModelReply | UnloadModelReply | StatusReply | ShutdownReply | Alive
    | Ready | Made | Residency | Expect | LatentsWritten
)  # fmt: skip

KIND_OF = {message: kind for kind, message in KINDS.items()}

TERMINAL = (Finished, Failed, Cancelled)
"""Each accepted job ends with exactly one of these."""
