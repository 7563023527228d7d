"""How long jobs take, learned from those that finished. Knows no queue and no clock."""

from __future__ import annotations

from collections.abc import Sequence

from sa3_daw.job import Job

WEIGHT_OF_LATEST = 0.3


class Forecast:
    """Seconds of work per second of audio and sampler step, per model, as a moving mean."""

    def __init__(self) -> None:
        self._seconds_per_unit: dict[str, float] = {}

    def observe(self, job: Job, seconds: float) -> None:
        """Learn from a finished job that took ``seconds`` of work."""
        latest = seconds / _units(job)
        known = self._seconds_per_unit.get(job.model, latest)
        self._seconds_per_unit[job.model] = known + WEIGHT_OF_LATEST * (latest - known)

    def eta_seconds(self, jobs: Sequence[Job], spent_seconds: float) -> float | None:
        """Expected seconds until the last of ``jobs`` is done; on the first, ``spent_seconds`` were spent already.

        None while a model among them has not finished a job yet.
        """
        expected = [self._seconds(job) for job in jobs]
        known = [seconds for seconds in expected if seconds is not None]
        if len(known) < len(expected):
            return None
        return round(max(0.0, known[0] - spent_seconds) + sum(known[1:]), 3)

    def _seconds(self, job: Job) -> float | None:
        rate = self._seconds_per_unit.get(job.model)
        return None if rate is None else rate * _units(job)


def _units(job: Job) -> float:
    return job.num_samples / job.sample_rate * job.steps
