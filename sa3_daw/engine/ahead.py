"""What an engine does when nothing is asked of it: encode what is likely to be edited next. Knows no socket.

It is done piece by piece, so that a job never waits for more than one piece, and only with models in memory.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from sa3_daw.engine.residency import Residents
from sa3_daw.job import Job
from sa3_daw.logs import about

log = logging.getLogger(__name__)

MAX_LIKELY_JOBS = 64
"""Beyond these the oldest are forgotten; one job has at most as many takes."""


class Ahead:
    """Jobs that are likely to come, the latest likeliest."""

    def __init__(self, residents: Residents) -> None:
        self._residents = residents
        self._likely: deque[Job] = deque(maxlen=MAX_LIKELY_JOBS)

    def expect(self, job: Job) -> None:
        """Take a job that may come; it has a source."""
        self._likely.append(job)

    def work(self) -> Iterator[None]:
        """Prepare one piece at each turn; what is given up half done is begun anew the next time."""
        while self._likely:
            job = self._likely[-1]
            try:
                yield from self._residents.hear_ahead(job)
            except Exception as error:  # Such as audio that was deleted meanwhile; nobody waits for it.
                log.info("not prepared: %s", error, extra=about(job.job_id))
            self._likely.remove(job)

    @property
    def has_work(self) -> bool:
        """True while something is expected."""
        return bool(self._likely)

    def take_num_written_bytes(self) -> int:
        """Return the bytes of latents that went to disk since the last call, during jobs as well."""
        return self._residents.latent_files.take_num_written_bytes()
