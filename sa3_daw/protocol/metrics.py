"""A daemon's status as Prometheus metrics (text format 0.0.4). Knows no socket and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from sa3_daw.protocol.messages import StageTimes, StatusReply

Sample = tuple[dict[str, str], float]
"""Labels and value."""


def prometheus_text(status: StatusReply) -> str:
    """Return what a scrape of this daemon shows; every metric has its unit in its name."""
    ends = [({"outcome": outcome}, count) for outcome, count in _ends(status)]
    states = ("running", "queued", "delivering")
    jobs = [({"state": state}, sum(job.state == state for job in status.jobs)) for state in states]
    engine = status.engine
    memory = [({"process": "front"}, status.num_bytes), ({"process": "engine"}, engine.num_bytes)]
    models = [
        ({"model": model.name, "device": model.device, "precision": model.precision}, model.num_bytes)
        for model in engine.models
    ]
    lines = [
        *_metric("uptime_seconds", "gauge", "Since the daemon's start.", [({}, status.uptime_seconds)]),
        *_metric("jobs_ended_total", "counter", "Jobs that have ended.", ends),
        *_metric("jobs", "gauge", "Live jobs.", jobs),
        *_metric("engine_up", "gauge", "1 while an engine takes jobs.", [({}, engine.state in ("idle", "busy"))]),
        *_metric("engine_deaths_total", "counter", "Engines that ended unasked.", [({}, engine.num_deaths)]),
        *_metric("memory_bytes", "gauge", "Resident memory.", memory),
        *_metric("model_bytes", "gauge", "Weights in memory.", models),
        *_metric("takes", "gauge", "Stored takes.", [({}, status.store.num_takes)]),
        *_metric("store_bytes", "gauge", "Stored audio.", [({}, status.store.num_bytes)]),
        *_metric("store_healthy", "gauge", "0 while nothing can be stored.", [({}, not status.store.problem)]),
        *_histogram("stage_seconds", "Time of finished jobs in each stage.", status.stages),
    ]
    return "\n".join(lines) + "\n"


def _ends(status: StatusReply) -> tuple[tuple[str, int], ...]:
    return (("finished", status.num_finished), ("failed", status.num_failed), ("cancelled", status.num_cancelled))


def _metric(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP sa3_daw_{name} {meaning}"
    yield f"# TYPE sa3_daw_{name} {kind}"
    for labels, value in samples:
        yield _line(name, labels, value)


def _histogram(name: str, meaning: str, stages: Iterable[StageTimes]) -> Iterator[str]:
    yield from _metric(name, "histogram", meaning, ())
    for stage in stages:
        bounds = [*(f"{bound:g}" for bound in stage.bounds_seconds), "+Inf"]
        for bound, count in zip(bounds, accumulate(stage.counts), strict=True):
            yield _line(f"{name}_bucket", {"stage": stage.stage, "le": bound}, count)
        yield _line(f"{name}_sum", {"stage": stage.stage}, stage.sum_seconds)
        yield _line(f"{name}_count", {"stage": stage.stage}, sum(stage.counts))


def _line(name: str, labels: dict[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"sa3_daw_{name}{'{' + shown + '}' if shown else ''} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
