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
        return self.etas_seconds(jobs, spent_seconds)[-1]

    def etas_seconds(self, jobs: Sequence[Job], spent_seconds: float) -> list[float | None]:
        """Return the same for each of ``jobs``, which run one after the other."""
        etas: list[float | None] = []
        total: float | None = 0.0
        for index, job in enumerate(jobs):
            seconds = self._seconds(job)
            if seconds is None or total is None:
                total = None
            else:
                total += seconds if index else max(0.0, seconds - spent_seconds)
            etas.append(None if total is None else round(total, 3))
        return etas

    def _seconds(self, job: Job) -> float | None:
        rate = self._seconds_per_unit.get(job.model)
        return None if rate is None else rate * _units(job)


def _units(job: Job) -> float:
    return job.num_samples / job.sample_rate * job.steps * job.num_variations * job.best_of
