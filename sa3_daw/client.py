"""The Python client: finds or starts a daemon, runs jobs, keeps takes. Needs pyzmq, msgpack, numpy.

A Client belongs to one thread; use one per thread. Knows no model and imports no torch.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_daw.blobs import BYTES_PER_FRAME
from sa3_daw.client_clip import Clip, Hold, InMemory, Result, TakeResult, audio_address
from sa3_daw.client_link import ClientLink, log_tail, spawn_daemon, wire_error
from sa3_daw.config import load_config
from sa3_daw.errors import DaemonUnreachable, EngineError, Sa3Error, invalid
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.endpoints import DAEMON_LOG, Connection, another_starts, read_connection, unreachable
from sa3_daw.protocol.messages import Accepted, Cancelled, Finished, HelloReply, Progress, StatusReply, Take, TakeInfo

__all__ = [
    "Accepted",
    "AudioChunk",
    "Cancelled",
    "Client",
    "Finished",
    "HelloReply",
    "JobCancelled",
    "JobEvent",
    "JobStream",
    "Progress",
    "Result",
    "Sa3Error",
    "StatusReply",
    "Stream",
    "Take",
    "TakeInfo",
    "TakeResult",
    "audio_address",
    "collect",
    "new_job_id",
    "random_seed",
]

JobEvent = Accepted | Progress | AudioChunk | Take | Finished | Cancelled

START_TIMEOUT_SECONDS = 20.0
NUM_CREDITS = 16
RETURN_CREDITS = 4
PIECE_SAMPLES = (1 << 20) // BYTES_PER_FRAME
"""Samples of stored audio in one message: as many as its buffer may hold."""
PIECES_AHEAD = 8
"""Pieces sent before the answer to the first of them is awaited."""


class JobCancelled(Exception):
    """A blocking ``generate`` was cancelled, by the daemon's end or from outside. An outcome, not an error."""


def new_job_id() -> str:
    """Return an id no other job has."""
    return secrets.token_hex(8)


def random_seed() -> int:
    """Return a seed to resolve "any seed" with, small enough to be read out and typed."""
    return secrets.randbelow(2**32)


class Client:
    """One connection to a daemon."""

    def __init__(self, connection: Connection) -> None:
        """Connect, without a word yet; ``connect`` is the usual way in."""
        self.connection = connection
        self._link = ClientLink(connection)

    @classmethod
    def connect(cls, autostart: bool = True) -> Client:
        """Connect to the user's daemon and greet it; with ``autostart`` start one when none answers.

        Raises DaemonUnreachable, which names the command that starts a daemon.
        """
        directory = load_config().runtime_dir
        try:
            return cls._greeted(read_connection(directory))
        except DaemonUnreachable:
            if not autostart:
                raise
        return cls._start_daemon(directory)

    @classmethod
    def _greeted(cls, connection: Connection) -> Client:
        client = cls(connection)
        try:
            client.hello()
        except BaseException:
            client.close()
            raise
        return client

    @classmethod
    def _start_daemon(cls, directory: Path) -> Client:
        """Start a daemon that outlives this process, and wait until it answers or ends."""
        process = spawn_daemon(directory)
        deadline = monotonic() + START_TIMEOUT_SECONDS
        while monotonic() < deadline:
            ended = process.poll() is not None
            try:
                return cls._greeted(read_connection(directory))
            except DaemonUnreachable:
                # One that somebody else started at the same moment has the lock, and will answer soon.
                if ended and not another_starts(directory, process.pid):
                    break
            sleep(0.02)
        raise unreachable(f"the daemon did not start; the end of {directory / DAEMON_LOG}:\n{log_tail(directory)}\n")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; jobs still live are cancelled by the daemon, unless they are durable."""
        self._link.close()

    def hello(self) -> HelloReply:
        """Ask what the daemon is and can do."""
        return self._link.ask(msg.Hello(f"python {os.getpid()}"), HelloReply)

    def status(self) -> StatusReply:
        """Ask what the daemon is doing."""
        return self._link.ask(msg.Status(), StatusReply)

    def shutdown(self) -> None:
        """End the daemon. Every live job of every client is cancelled."""
        self._link.ask(msg.Shutdown(), msg.ShutdownReply)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False when it is not live. Its events still end with one terminal event."""
        return self._link.ask(msg.Cancel(), msg.CancelReply, job_id).live

    def submit(self, job: Job) -> JobStream:
        """Send a job; its events are then read from the stream. Several streams may be open at once."""
        self._link.open_job(job, job.job_id, NUM_CREDITS)
        return JobStream(self._link, job)

    def generate(self, job: Job, on_event: Callable[[JobEvent], None] | None = None, hold: Hold = InMemory) -> Result:
        """Run a job to its end and return all its variations; what was to be kept of a source is checked.

        ``hold`` says where their audio is kept. ``on_event`` is called with each event, in this thread. An exception in
        it cancels the job, and so does Ctrl-C, after which the events go on until the daemon has confirmed it. Raises
        the job's Sa3Error, or JobCancelled.
        """
        with self.submit(job) as stream:
            return collect(stream, on_event, hold)

    def put_audio(self, samples_CS: NDArray[np.float32]) -> str:
        """Store stereo audio [2, n] as a source and return its address; what is there already is not sent."""
        address, num_samples = audio_address(samples_CS), samples_CS.shape[1]
        if not num_samples:
            raise invalid("num_samples", num_samples, "at least 1")
        if self._link.ask(msg.HasAudio(address), msg.HasAudioReply).have:
            return address
        awaited: deque[int] = deque()
        try:
            for start in range(0, num_samples, PIECE_SAMPLES):
                piece = np.ascontiguousarray(samples_CS[:, start : start + PIECE_SAMPLES], dtype="<f4")
                request = msg.PutAudio(address, num_samples, start, piece.shape[1])
                awaited.append(self._link.request(request, buffer=piece.tobytes()))
                if len(awaited) > PIECES_AHEAD:
                    self._link.reply(awaited.popleft(), msg.PutAudioReply, while_alive=True)
            while awaited:
                reply, _ = self._link.reply(awaited.popleft(), msg.PutAudioReply, while_alive=True)
        finally:
            self._link.forget_replies(awaited)
        if not reply.complete:
            raise EngineError(f"{reply.num_received_samples} of {num_samples} samples were stored")
        return address

    def get_audio(self, audio: str) -> NDArray[np.float32]:
        """Return stored audio, float32 [2, n]. Raises InvalidField when it is not stored."""
        num_samples = self._link.ask(msg.HasAudio(audio), msg.HasAudioReply).num_samples
        samples = np.empty((2, num_samples), dtype=np.float32)
        for start in range(0, max(1, num_samples), PIECE_SAMPLES):
            request = self._link.request(msg.GetAudio(audio, start, PIECE_SAMPLES))
            reply, buffers = self._link.reply(request, msg.GetAudioReply)
            end = start + reply.num_samples
            samples[:, start:end] = _samples(reply.num_channels, reply.num_samples, buffers)
        return samples

    def list_takes(
        self, text: str = "", tag: str = "", starred: bool = False, limit: int = 100, before: str = ""
    ) -> tuple[TakeInfo, ...]:
        """Return stored takes, newest first; see docs/protocol.md for the conditions."""
        return self._link.ask(msg.ListTakes(text, tag, starred, limit, before), msg.ListTakesReply).takes

    def get_take(self, take_id: str) -> tuple[TakeInfo, Job]:
        """Return a take and the job that makes it again. Raises InvalidField when there is none of that id."""
        reply = self._link.ask(msg.GetTake(take_id), msg.GetTakeReply)
        return reply.take, reply.job

    def change_take(
        self,
        take_id: str,
        starred: bool | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> TakeInfo:
        """Star, unstar or tag a take and return it as it is now."""
        request = msg.ChangeTake(take_id, starred, tuple(add_tags), tuple(remove_tags))
        return self._link.ask(request, msg.ChangeTakeReply).take

    def delete_take(self, take_id: str) -> bool:
        """Delete a take; False when there was none of that id."""
        return self._link.ask(msg.DeleteTake(take_id), msg.DeleteTakeReply).deleted

    def collect_garbage(self, budget_mb: int | None = None) -> tuple[int, int]:
        """Delete the oldest unstarred takes beyond a budget; return how many takes and bytes went."""
        reply = self._link.ask(msg.CollectGarbage(budget_mb), msg.CollectGarbageReply)
        return reply.num_takes, reply.num_bytes

    def load_model(self, model: str, keep_alive_seconds: float = 0.0) -> tuple[msg.ResidentModel, ...]:
        """Make a model resident and wait for it; return all that are."""
        request = self._link.request(msg.LoadModel(model, keep_alive_seconds))
        return self._link.reply(request, msg.LoadModelReply, while_alive=True)[0].models

    def unload_model(self, model: str) -> tuple[msg.ResidentModel, ...]:
        """Free a model's memory, after a running job; return those still resident."""
        request = self._link.request(msg.UnloadModel(model))
        return self._link.reply(request, msg.UnloadModelReply, while_alive=True)[0].models


class JobStream:
    """The events of one job, in order, ending after Finished or Cancelled. Leaving its ``with`` block cancels it."""

    def __init__(self, link: ClientLink, job: Job) -> None:
        self.job = job
        self._link = link
        self._ended = False
        self._owed_credits = 0

    def __iter__(self) -> Iterator[JobEvent]:
        return self

    def __next__(self) -> JobEvent:
        """Return the next event. Raises the job's Sa3Error when it has failed."""
        if self._ended:
            raise StopIteration
        received = self._link.next_of_job(self.job.job_id)
        message = received.message
        if isinstance(message, msg.Failed | msg.Rejected):
            self._end()
            raise wire_error(message)
        if isinstance(message, msg.TERMINAL):
            self._end()
        if isinstance(message, msg.Audio):
            return self._audio(message, received.buffers)
        assert isinstance(message, Accepted | Progress | Take | Finished | Cancelled)
        return message

    def cancel(self) -> None:
        """Ask the daemon to stop the job; go on reading until its last event. May be called often."""
        if not self._ended:
            self._link.send(msg.Cancel(), self.job.job_id)

    def close(self) -> None:
        """Cancel the job if it still lives, and read no more of it."""
        if not self._ended:
            self.cancel()
            self._end()

    def __enter__(self) -> JobStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _audio(self, message: msg.Audio, buffers: tuple[bytes, ...]) -> AudioChunk:
        samples = _samples(message.num_channels, message.num_samples, buffers)
        self._owed_credits += 1
        if self._owed_credits >= RETURN_CREDITS:
            self._link.send(msg.Credit(self._owed_credits), self.job.job_id)
            self._owed_credits = 0
        return AudioChunk(message.start_sample, samples, message.variation, message.draft)

    def _end(self) -> None:
        self._ended = True
        self._link.close_job(self.job.job_id)


class Stream(Protocol):
    """The events of a job that was handed over to a daemon, or to whoever else makes jobs."""

    job: Job

    def __iter__(self) -> Iterator[JobEvent]: ...

    def cancel(self) -> None:
        """Ask for the job's end; go on reading until its last event."""

    def close(self) -> None:
        """Stop the job if it still lives, and read no more of it."""


def collect(stream: Stream, on_event: Callable[[JobEvent], None] | None = None, hold: Hold = InMemory) -> Result:
    """Read a submitted job to its end, as ``Client.generate`` does; other streams may be open meanwhile.

    Ctrl-C, whatever it meets in here, cancels the job and waits for its end; a second one does not wait.
    """
    hear = on_event or _ignore
    try:
        return _read_to_the_end(stream, hear, hold)
    except KeyboardInterrupt:
        stream.cancel()
        for event in stream:
            hear(event)
        raise


def _read_to_the_end(stream: Stream, hear: Callable[[JobEvent], None], hold: Hold) -> Result:
    with closing(Clip(stream.job, hold)) as clip:
        for event in stream:
            hear(event)
            if isinstance(event, AudioChunk):
                clip.add(event)
            elif isinstance(event, Take):
                clip.complete(event)
            elif isinstance(event, Cancelled):
                raise JobCancelled(stream.job.job_id)
            elif isinstance(event, Finished):
                return clip.result(event)
    raise EngineError("the job's events ended without a result")


def _ignore(_: JobEvent) -> None:
    """Hear an event that nobody asked for."""


def _samples(num_channels: int, num_samples: int, buffers: tuple[bytes, ...]) -> NDArray[np.float32]:
    if len(buffers) != 1 or len(buffers[0]) != 4 * num_channels * num_samples:
        raise EngineError(f"{num_channels} x {num_samples} samples have not the bytes for it")
    return np.frombuffer(buffers[0], dtype="<f4").reshape(num_channels, num_samples)
