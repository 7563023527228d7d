"""Every live job from its acceptance to its last event, and the clients that follow it. Knows no socket.

Admission has been passed; what runs next is the scheduler's matter, what the engine does the engine room's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from sa3_daw.config import DaemonConfig
from sa3_daw.daemon import admission
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.client_sockets import Address
from sa3_daw.daemon.delivery import Delivery, Entry, Frames
from sa3_daw.daemon.ends import Ends
from sa3_daw.daemon.engine_room import EngineRoom
from sa3_daw.daemon.forecast import Forecast
from sa3_daw.daemon.journal import Journal
from sa3_daw.daemon.limits import MAX_CREDIT
from sa3_daw.daemon.live_job import NO_PROGRESS, LiveJob
from sa3_daw.daemon.recorder import replay
from sa3_daw.daemon.scheduler import Scheduler, Ticket
from sa3_daw.daemon.takes import same_content
from sa3_daw.errors import EngineError, invalid
from sa3_daw.job import Job, Source
from sa3_daw.logs import about
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.framing import Received

log = logging.getLogger(__name__)

Send = Callable[[Address, Frames], bool]


class Jobs:
    """All live jobs. Job ids are global: a job belongs to whoever names it."""

    def __init__(
        self,
        config: DaemonConfig,
        room: EngineRoom,
        send: Send,
        audio: AudioStore,
        journal: Journal,
        back_room: BackRoom,
    ) -> None:
        self._config = config
        self._room = room
        self._send = send
        self._audio = audio
        self._journal = journal
        self._live: dict[str, LiveJob] = {}
        self._forecast = Forecast()
        self._told_loading: Ticket | None = None
        self._ends = Ends(config, audio, journal, back_room, self._audio_in_use)
        self.scheduler = Scheduler(config.max_queued_jobs)
        self.statistics = self._ends.statistics
        self.takes = self._ends.takes

    def open(self) -> None:
        """Take up what an earlier daemon left."""
        self._ends.open()

    # What clients want

    def submit(self, client: Address, header: msg.Header, job: Job) -> None:
        """Queue an admitted job, or join it to a live one, or to a stored result, of the same id and content."""
        live = self._live.get(job.job_id)
        if live is not None:
            if not same_content(live.job, job):
                raise invalid("job_id", job.job_id, "an id that no live job has with other content")
            self._follow(live, client, header, replayed=live.recorder is None)
            return
        stored = self.takes.result_of(job)
        if stored:
            live = LiveJob(Ticket(client, job), None)
            self._live[job.job_id] = live
            for entry in replay(self._audio, stored):
                live.log.add(entry)
            made = stored[0].made
            live.log.add(Entry(msg.Finished(made.num_samples, made.peak_db, made.rms_db)))
            live.is_computed = True
            log.info("replayed from %d takes", len(stored), extra=about(job.job_id))
            self._follow(live, client, header, replayed=True)
            return
        ticket = Ticket(client, job)
        self.scheduler.submit(ticket)
        live = LiveJob(ticket, self._ends.recorder(job))
        self._live[job.job_id] = live
        self._journal.accepted(job)
        log.info(
            "accepted: %s, %d samples at %d Hz", job.model, job.num_samples, job.sample_rate, extra=about(job.job_id)
        )
        self._follow(live, client, header, replayed=False)
        if self._room.is_hopeless:
            self._fail_waiting()

    def cancel(self, job_id: str) -> bool:
        """Cancel a job wherever it is, at once, though the engine may still have to stop; False when it is not live."""
        live = self._live.get(job_id)
        if live is None:
            return False
        if live.ticket is self.scheduler.running:
            self.scheduler.end_running()
            self._room.stop()
        elif not live.is_computed:
            self.scheduler.remove(live.ticket)
        self._close(live, msg.Cancelled())
        return True

    def grant(self, client: Address, job_id: str, num_chunks: int) -> None:
        """Take a client's credit for more chunks of a job."""
        live = self._live.get(job_id)
        if live is not None and client in live.deliveries:
            live.deliveries[client].grant(num_chunks)
            self._deliver(live)

    def is_live(self, job_id: str) -> bool:
        """Tell whether a job of that id lives."""
        return job_id in self._live

    @property
    def is_busy(self) -> bool:
        """True while the engine has or gets something to do."""
        return self.scheduler.running is not None or self.scheduler.num_queued > 0

    def clients_waiting(self) -> set[Address]:
        """Return the clients that follow live jobs."""
        return {client for live in self._live.values() for client in live.deliveries}

    def client_gone(self, client: Address) -> None:
        """A client follows nothing any more."""
        for live in [live for live in self._live.values() if client in live.deliveries]:
            self._unfollow(live, client)

    # What the engine does

    def move_on(self) -> None:
        """Give the engine its next job, or let the running one give way to a more urgent one."""
        self._preempt()
        if self.scheduler.running is None and self.scheduler.num_queued:
            if not self._room.make_ready():
                self._announce_loading()
                return
            ticket = self.scheduler.start_next()
            assert ticket is not None
            live = self._live[ticket.job.job_id]
            live.started_at = live.started_at or monotonic()
            live.progress = NO_PROGRESS
            log.info("runs", extra=about(ticket.job.job_id))
            self._room.run(ticket.job)

    def engine_event(self, received: Received) -> None:
        """Take one event of the running job."""
        assert self.scheduler.running is not None
        live = self._live[self.scheduler.running.job.job_id]
        message = received.message
        try:
            if isinstance(message, msg.Progress):
                live.progress = message
                self._tell(live, replace(message, eta_seconds=self.eta_seconds(live.ticket)))
            elif isinstance(message, msg.Audio):
                self._audio_came(live, message, received.buffers[0] if received.buffers else b"")
            elif isinstance(message, msg.Made):
                self._variation_complete(live, message)
            elif isinstance(message, msg.Finished | msg.Failed):
                if isinstance(message, msg.Finished):
                    live.recorder_of_run.check_complete()
                self._run_ended(live, message)
            elif isinstance(message, msg.Cancelled):
                raise EngineError("the engine cancelled a job that nobody had cancelled")
        except EngineError as error:
            self._room.break_off(error.message)

    def engine_died(self, reason: str) -> None:
        """The engine has ended: its job fails, the queue stays."""
        ticket = self.scheduler.running
        if ticket is not None:
            error = self._room.dead(f"{reason} while job {ticket.job.job_id} ran")
            self._run_ended(self._live[ticket.job.job_id], msg.Failed(error.code, error.message))
        if self._room.handle.policy.hopeless:
            self._fail_waiting()

    def close(self) -> None:
        """Cancel everything: the daemon ends."""
        for live in list(self._live.values()):
            self._close(live, msg.Cancelled())
        self._ends.close()

    # What there is to see

    def eta_seconds(self, ticket: Ticket) -> float | None:
        """Expected seconds until a queued or the running job is computed, None before anything is known."""
        running = self.scheduler.running
        ahead = [running] if ticket is running and running is not None else [*self.scheduler.ahead_of(ticket), ticket]
        spent = monotonic() - self._live[running.job.job_id].started_at if running is not None else 0.0
        return self._forecast.eta_seconds([each.job for each in ahead], spent)

    def status(self) -> tuple[msg.JobStatus, ...]:
        """Return every live job, in the order in which they run."""
        running = self.scheduler.running
        delivering = [live for live in self._live.values() if live.is_computed]
        waiting = list(self.scheduler.queued_in_order())
        order = [running, *waiting] if running is not None else waiting
        spent = monotonic() - self._live[running.job.job_id].started_at if running is not None else 0.0
        etas = self._forecast.etas_seconds([ticket.job for ticket in order], spent)
        states = ["queued"] * len(order) if running is None else ["running", *["queued"] * len(waiting)]
        return (
            *(live.status("delivering", 0, None) for live in delivering),
            *(
                self._live[ticket.job.job_id].status(state, position, eta)
                for position, (ticket, state, eta) in enumerate(zip(order, states, etas, strict=True))
            ),
        )

    # Within

    def _follow(self, live: LiveJob, client: Address, header: msg.Header, *, replayed: bool) -> None:
        """Let a client have the job's events, from the first on."""
        delivery = Delivery(live.job.job_id, live.log, header.credit, MAX_CREDIT)
        live.deliveries[client] = delivery
        is_queued = not live.is_computed and live.ticket is not self.scheduler.running
        position = len(self.scheduler.ahead_of(live.ticket)) if is_queued else 0
        eta_seconds = None if live.is_computed else self.eta_seconds(live.ticket)
        accepted = admission.accepted(live.job, self._config, position, eta_seconds)
        if self._send(client, delivery.tell(replace(accepted, replayed=replayed))):
            self._deliver(live)
        else:
            self.client_gone(client)

    def _unfollow(self, live: LiveJob, client: Address) -> None:
        """Cancel a job that nobody else follows and nobody wants to be finished anyway."""
        del live.deliveries[client]
        if live.deliveries:
            return
        if live.is_computed:
            self._close_when_delivered(live)
        elif not live.job.durable:
            log.info("cancelled: its client is gone", extra=about(live.job.job_id))
            self.cancel(live.job.job_id)

    def _tell(self, live: LiveJob, message: msg.Message) -> None:
        """Send an event that waits for nothing to everybody who follows the job."""
        for client, delivery in list(live.deliveries.items()):
            if not self._send(client, delivery.tell(message)):
                self.client_gone(client)

    def _deliver(self, live: LiveJob) -> None:
        """Send what each client has credit for."""
        for client, delivery in list(live.deliveries.items()):
            try:
                if not all(self._send(client, frames) for frames in delivery.due()):
                    self.client_gone(client)
            except OSError as error:
                log.error("its audio cannot be read back: %s", error, extra=about(live.job.job_id))
                self._send(
                    client, delivery.tell(msg.Failed(EngineError.code, f"the audio cannot be read back: {error}"))
                )
                self._unfollow(live, client)
        live.log.settle()
        self._close_when_delivered(live)

    def _close_when_delivered(self, live: LiveJob) -> None:
        live.deliveries = {client: each for client, each in live.deliveries.items() if not each.ended}
        last = live.log.entries[-1].message if live.log.entries else None
        if isinstance(last, msg.Finished) and not live.deliveries and self._live.get(live.job.job_id) is live:
            del self._live[live.job.job_id]
            self._ends.remember(live, last)
            self._ends.put_away(live)

    def _close(self, live: LiveJob, last: msg.Failed | msg.Cancelled) -> None:
        """End a job that has no good end: what it made so far is stored."""
        if self._live.pop(live.job.job_id, None) is None:
            return
        self._ends.remember(live, last)
        self._tell(live, last)
        if live.recorder is not None and not live.is_computed:
            live.recorder.interrupt()
        self._ends.put_away(live)

    def _audio_came(self, live: LiveJob, message: msg.Audio, buffer: bytes) -> None:
        recorded = live.recorder_of_run.add(message, buffer)
        if recorded is not None:
            live.log.add(*recorded)
            self._deliver(live)

    def _variation_complete(self, live: LiveJob, message: msg.Made) -> None:
        live.recorder_of_run.complete(message.made, lambda take: self._take_stored(live, take))
        self._journal.complete(live.job, message.made)

    def _take_stored(self, live: LiveJob, take: msg.Take) -> None:
        if self._live.get(live.job.job_id) is live:
            live.log.add(Entry(take))
            self._finish_when_stored(live)
            self._deliver(live)

    def _run_ended(self, live: LiveJob, last: msg.Finished | msg.Failed) -> None:
        """The engine is done with its job, one way or another."""
        if self._room.handle.state == "busy":
            self._room.job_ended(well=isinstance(last, msg.Finished))
        self.scheduler.end_running()
        live.computed_at = monotonic()
        if isinstance(last, msg.Finished):
            live.timings_seconds = last.timings_seconds
            self._forecast.observe(live.job, sum(last.timings_seconds.values()))
            live.is_computed, live.finished = True, last
            self._finish_when_stored(live)
            self._deliver(live)
        else:
            self._close(live, last)

    def _finish_when_stored(self, live: LiveJob) -> None:
        """The end follows the takes; then the engine may prepare for the same job with one of them as the source."""
        if live.finished is None or live.recorder_of_run.is_storing:
            return
        live.log.add(Entry(live.finished))
        live.finished = None
        for audio in live.recorder_of_run.made:
            self._room.expect(replace(live.job, source=Source(audio), warp=False, loudness_lufs=None))

    def _preempt(self) -> None:
        """Let the running job wait again when a more urgent one has come; what it has made is kept."""
        running = self.scheduler.running
        if running is not None and self.scheduler.wants_preemption:
            log.info("gives way to an audible job", extra=about(running.job.job_id))
            self.scheduler.requeue_running()
            self._room.stop()

    def _announce_loading(self) -> None:
        """Tell the first in the queue, once, that the engine is being made ready."""
        first = next(self.scheduler.queued_in_order())
        if first is not self._told_loading and not self._room.is_occupied:
            self._told_loading = first
            self._tell(self._live[first.job.job_id], msg.Progress("loading", 0, 1))

    def _fail_waiting(self) -> None:
        """Engines do not start: tell the waiting jobs. A job that comes after the back-off makes one more attempt."""
        error = self._room.dead("the engine does not start")
        for ticket in list(self.scheduler.queued_in_order()):
            live = self._live.get(ticket.job.job_id)
            if live is not None:
                self.scheduler.remove(ticket)
                self._close(live, msg.Failed(error.code, error.message))

    def _audio_in_use(self) -> set[str]:
        return set[str]().union(*(live.audio_in_use() for live in self._live.values()))
