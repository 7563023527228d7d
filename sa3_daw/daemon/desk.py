"""Where clients' messages are read, checked and answered, or handed on to jobs, store and engine. Knows no socket.

Whatever is wrong with a message is told to its sender alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from sa3_daw.adapter_files import list_adapters
from sa3_daw.catalogue import find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon import admission
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.client_sockets import Address
from sa3_daw.daemon.delivery import Frames
from sa3_daw.daemon.engine_room import EngineRoom, Order
from sa3_daw.daemon.job_checks import JOB_ID
from sa3_daw.daemon.jobs import Jobs, Send
from sa3_daw.daemon.limits import MAX_BUDGET_MB, MAX_KEEP_ALIVE_SECONDS, MESSAGES_AT_ONCE, MESSAGES_PER_SECOND
from sa3_daw.daemon.reports import hello_reply, status_reply
from sa3_daw.errors import LimitExceeded, RequestError, Sa3Error, invalid, shorten
from sa3_daw.job import Job
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.version import PROTOCOL_VERSION

log = logging.getLogger(__name__)


class RateLimit:
    """How many messages a client may still send now."""

    def __init__(self) -> None:
        self._left = MESSAGES_AT_ONCE
        self._seen = monotonic()

    def admits(self) -> bool:
        """Count one message; False when it is one too many."""
        now = monotonic()
        self._left = min(MESSAGES_AT_ONCE, self._left + (now - self._seen) * MESSAGES_PER_SECOND)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def is_idle(self) -> bool:
        """True when the client has been quiet for so long that nothing of it need be remembered."""
        return self._left + (monotonic() - self._seen) * MESSAGES_PER_SECOND >= MESSAGES_AT_ONCE


class Desk:
    """Answers clients."""

    def __init__(
        self,
        config: DaemonConfig,
        jobs: Jobs,
        audio: AudioStore,
        room: EngineRoom,
        send: Send,
        stop: Callable[[], None],
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._audio = audio
        self._room = room
        self._send = send
        self._stop = stop
        self._limits: dict[Address, RateLimit] = {}
        self._started_at = monotonic()

    def receive(self, client: Address, frames: Sequence[bytes]) -> None:
        """Deal with one message of a client."""
        header = msg.Header(PROTOCOL_VERSION)
        is_admitted = self._limits.setdefault(client, RateLimit()).admits()
        try:
            header = admission.read_header(frames)
            if not is_admitted:
                allowed = f"{MESSAGES_PER_SECOND:g} messages a second"
                raise LimitExceeded(f"too many messages; allowed: {allowed}", field="messages", allowed=allowed)
            request = admission.read_request(frames, header)
            if isinstance(request, Job):
                self._submit(client, header, request)
            elif isinstance(request, msg.Credit):
                self._jobs.grant(client, header.job, request.num_chunks)
            elif isinstance(request, msg.LoadModel | msg.UnloadModel):
                self._order(client, header, request)
            elif isinstance(request, msg.PutAudio):
                self._put_audio(client, header, request, tuple(frames[3:]))
            elif isinstance(request, msg.GetAudio):
                reply, planar = self._audio.get(request)
                self.answer(client, header, reply, planar)
            else:
                self.answer(client, header, self._reply_to(header, request))
        except Sa3Error as error:
            self._refuse(client, frames, header, error)
        except OSError as error:
            self._refuse(client, frames, header, RequestError(f"the disk fails: {error}", field="data_dir"))
        except Exception as error:
            # A mistake of ours: it costs one message, not every client's session.
            log.exception("a message could not be dealt with")
            reason = f"{type(error).__name__}: {error}"
            self._refuse(client, frames, header, Sa3Error(f"the daemon failed over this message: {reason:.200}"))

    def answer(self, client: Address, header: msg.Header, message: msg.Message, buffer: bytes | None = None) -> None:
        """Answer the request that ``header`` came with."""
        self._send(client, encode(message, job=header.job, seq=header.seq, buffer=buffer))

    def forget_idle(self) -> None:
        """Forget how much clients have sent that have been quiet."""
        self._limits = {client: limit for client, limit in self._limits.items() if not limit.is_idle}

    def _submit(self, client: Address, header: msg.Header, job: Job) -> None:
        adapters = [entry.name for entry in list_adapters(self._config.adapters_dir)] if job.adapters else []
        admitted = admission.admit(job, self._config, self._audio.num_samples, adapters)
        self._jobs.submit(client, header, admitted)

    def _order(self, client: Address, header: msg.Header, request: msg.LoadModel | msg.UnloadModel) -> None:
        find_model(request.model, self._config)
        if isinstance(request, msg.LoadModel) and not 0 <= request.keep_alive_seconds <= MAX_KEEP_ALIVE_SECONDS:
            raise invalid("keep_alive_seconds", request.keep_alive_seconds, f"0 to {MAX_KEEP_ALIVE_SECONDS:g}")
        self._room.order(Order(client, header, request))

    def _put_audio(
        self, client: Address, header: msg.Header, request: msg.PutAudio, buffers: tuple[bytes, ...]
    ) -> None:
        def answer(reply: msg.PutAudioReply | RequestError) -> None:
            if isinstance(reply, RequestError):
                self._refuse(client, (b"put_audio",), header, reply)
            else:
                self.answer(client, header, reply)

        self._audio.put(client, request, buffers, self._jobs.takes.make_room_for, answer)

    def _reply_to(self, header: msg.Header, request: msg.Message) -> msg.Message:
        """Return the answer to a request that has one at once."""
        takes = self._jobs.takes
        match request:
            case msg.Hello():
                log.debug("hello from %s", shorten(request.client))
                return hello_reply(self._config, self._room.models)
            case msg.Status():
                return status_reply(self._jobs, self._room, self._started_at)
            case msg.Cancel():
                return msg.CancelReply(self._jobs.cancel(header.job))
            case msg.HasAudio():
                return self._audio.has(request.audio)
            case msg.ListTakes():
                return msg.ListTakesReply(takes.search(request))
            case msg.GetTake():
                record = takes.get(request.take_id)
                return msg.GetTakeReply(record.take, record.job)
            case msg.ChangeTake():
                return msg.ChangeTakeReply(takes.change(request))
            case msg.DeleteTake():
                return msg.DeleteTakeReply(takes.delete(request.take_id))
            case msg.CollectGarbage():
                return self._collect_garbage(request)
        assert isinstance(request, msg.Shutdown)
        log.info("told by a client to stop")
        self._stop()
        return msg.ShutdownReply()

    def _collect_garbage(self, request: msg.CollectGarbage) -> msg.CollectGarbageReply:
        budget_mb = request.budget_mb
        if budget_mb is not None and not 0 <= budget_mb <= MAX_BUDGET_MB:
            raise invalid("budget_mb", budget_mb, f"0 to {MAX_BUDGET_MB}, or nil for the configured budget")
        return self._jobs.takes.collect_garbage(None if budget_mb is None else budget_mb << 20)

    def _refuse(self, client: Address, frames: Sequence[bytes], header: msg.Header, error: Sa3Error) -> None:
        """Say what is wrong: ``failed`` when a job of that id could have started, else ``rejected``."""
        if error.field != "messages":  # A flood shall not fill the log as well.
            log.info("refused: %s", error.message)
        content = (error.code, error.message, error.field, error.value, error.allowed)
        job = header.job if JOB_ID.fullmatch(header.job) else ""
        starts_job = bool(frames) and frames[0] == b"generate" and job and not self._jobs.is_live(job)
        refusal: Frames
        if starts_job:
            self._jobs.statistics.num_ended["failed"] += 1
            refusal = encode(msg.Failed(*content), job=job)
        else:
            refusal = encode(msg.Rejected(*content), job=job, seq=header.seq)
        self._send(client, refusal)
