"""What becomes of a job that ends: counted, noted, its takes brought to the disk. Knows no queue and no client."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.journal import Journal
from sa3_daw.daemon.live_job import LiveJob
from sa3_daw.daemon.recorder import Recorder
from sa3_daw.daemon.statistics import Statistics
from sa3_daw.daemon.takes import TakeStore, same_content
from sa3_daw.errors import EngineDead
from sa3_daw.job import Job
from sa3_daw.logs import about
from sa3_daw.protocol import messages as msg

log = logging.getLogger(__name__)


class Ends:
    """The take store, the journal and the counts. ``in_use`` tells which audio live jobs need."""

    def __init__(
        self,
        config: DaemonConfig,
        audio: AudioStore,
        journal: Journal,
        back_room: BackRoom,
        in_use: Callable[[], set[str]],
    ) -> None:
        self._audio = audio
        self._journal = journal
        self._back_room = back_room
        self._storing: list[Recorder] = []  # of jobs that ended with takes still on their way to the disk
        self.statistics = Statistics()
        self.takes = TakeStore(config, audio, lambda: in_use().union(*(each.addresses for each in self._storing)))

    def open(self) -> None:
        """Open the store; jobs that an earlier daemon left unfinished are failed, what they had made is stored."""
        self.takes.open()
        for left in self._journal.left_behind():
            recorder = self.recorder(left.job)
            recorder.take_up(left.complete)
            if left.was_live:
                log.warning("failed: the daemon before this one died", extra=about(left.job.job_id))
                self._note(left.job, _left_unfinished(left.job))
            self._let_go(recorder)
        self._audio.drop_left()

    def recorder(self, job: Job) -> Recorder:
        """Return the recorder of a new job."""
        return Recorder(job, self._audio, self.takes, self._back_room)

    def remember(self, live: LiveJob, last: msg.Finished | msg.Failed | msg.Cancelled) -> None:
        """Count and note the end of a job, unless it was a replay."""
        if live.recorder is not None:
            end = live.end(last)
            log.info("%s %s after %g s", end.outcome, end.code, end.ran_seconds, extra=about(end.job_id))
            self._note(live.job, end)

    def put_away(self, live: LiveJob) -> None:
        """Let go of what a job recorded, once it is on the disk, and make room for it."""
        if live.recorder is not None:
            self._let_go(live.recorder)
            self.takes.make_room()

    def close(self) -> None:
        """Bring everything to the disk and close the store."""
        self._back_room.close()
        self.takes.close()

    def _note(self, job: Job, end: msg.JobEnd) -> None:
        self.statistics.ended(end)
        self._journal.ended(job, end)

    def _let_go(self, recorder: Recorder) -> None:
        """Remember the recorder of a job that has ended until all that the job made is on the disk."""

        def settled() -> None:
            self._storing.remove(recorder)
            if not any(same_content(other.job, recorder.job) for other in self._storing):
                self._journal.stored(recorder.job)

        self._storing.append(recorder)
        recorder.close(settled)


def _left_unfinished(job: Job) -> msg.JobEnd:
    """Return the end of a job whose daemon died."""
    return msg.JobEnd(
        job_id=job.job_id,
        outcome="failed",
        code=EngineDead.code,
        model=job.model,
        num_samples=job.num_samples,
        sample_rate=job.sample_rate,
        waited_seconds=0.0,
        ran_seconds=0.0,
        timings_seconds={},
    )
