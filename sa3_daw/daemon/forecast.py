"""How long jobs take, learned from those that finished. Knows no queue and no clock."""

from __future__ import annotations

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

    def seconds(self, job: Job) -> float | None:
        """Return the expected seconds of work; None before the model's first finished job."""
        rate = self._seconds_per_unit.get(job.model)
        return None if rate is None else rate * _units(job)


def _units(job: Job) -> float:
    return job.num_samples / job.sample_rate * job.steps
