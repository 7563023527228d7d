"""What has happened since the daemon's start: ends of jobs, seconds per stage. Knows no job that lives."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from sa3_daw.protocol.messages import JobEnd, StageTimes

NUM_REMEMBERED = 20
BOUNDS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Statistics:
    """Counts and histograms."""

    def __init__(self) -> None:
        self.num_ended = {"finished": 0, "failed": 0, "cancelled": 0}
        self.latest: deque[JobEnd] = deque(maxlen=NUM_REMEMBERED)
        self._counts: dict[str, list[int]] = {}
        self._sums_seconds: dict[str, float] = {}

    def ended(self, end: JobEnd) -> None:
        """Count a job's end."""
        self.num_ended[end.outcome] += 1
        self.latest.appendleft(end)
        if end.outcome == "finished":
            for stage, seconds in end.timings_seconds.items():
                counts = self._counts.setdefault(stage, [0] * (len(BOUNDS_SECONDS) + 1))
                counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
                self._sums_seconds[stage] = self._sums_seconds.get(stage, 0.0) + seconds

    def stages(self) -> tuple[StageTimes, ...]:
        """Return the histogram of each stage."""
        return tuple(
            StageTimes(stage, BOUNDS_SECONDS, tuple(counts), round(self._sums_seconds[stage], 6))
            for stage, counts in sorted(self._counts.items())
        )
