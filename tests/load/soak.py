"""Soak a daemon: `python -m tests.load.soak --minutes N`. Jobs of every verb, cancels and new clients, memory watched.

Memory of front and engine is taken once a second from the daemon's own status. The first fifth is warm-up; then the
medians of the first and the last third of what remains are compared: they may differ by MAX_GROWTH.
"""

from __future__ import annotations

import argparse
import random
import shlex
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from sa3_daw import edits
from sa3_daw.client import Client, new_job_id
from sa3_daw.config import ENGINE_COMMAND
from sa3_daw.job import Job, Region
from tests.running_daemon import RunningDaemon, a_job

MAX_GROWTH = 0.02
RATE = 48_000
LENGTHS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"SA3_LOG_LEVEL": "warning", "SA3_TAKES_BUDGET_MB": "200", "SA3_ENGINE_THREADS": "1"}
        with RunningDaemon(Path(folder) / "run", SA3_ENGINE_COMMAND=shlex.join(ENGINE_COMMAND), **quiet) as daemon:
            daemon.engine_pid()
            return soak(daemon, 60 * asked.minutes, random.Random(asked.seed))


def soak(daemon: RunningDaemon, seconds: float, rng: random.Random) -> int:
    """Work until the time is over; tell the figures. Returns 1 when memory was not flat or a job failed."""
    started = sampled = monotonic()
    front, engine = [], []
    ends: Counter[str] = Counter()
    client = daemon.client()
    watcher = daemon.client()
    while monotonic() - started < seconds:
        if rng.random() < 0.1:
            client.close()
            client = daemon.client()
        ends[one_job(client, rng)] += 1
        if monotonic() - sampled > 1:
            sampled = monotonic()
            status = watcher.status()
            front.append(status.num_bytes)
            engine.append(status.engine.num_bytes)
    status = watcher.status()
    client.close()
    watcher.close()
    growths = {"front": growth_of(front), "engine": growth_of(engine)}
    print(f"{seconds / 60:g} minutes, {sum(ends.values())} jobs: {dict(ends)}; {status.store.num_takes} takes kept")
    print(f"failed {status.num_failed}, engine deaths {status.engine.num_deaths}, still live {len(status.jobs)}")
    for name, values in (("front", front), ("engine", engine)):
        print(
            f"{name}: {values[0] / 1e6:.1f} MB at first, {values[-1] / 1e6:.1f} MB at last, "
            f"median of the last third against the first after warm-up {100 * growths[name]:+.2f} %; "
            f"by tenths {' '.join(f'{value / 1e6:.0f}' for value in by_tenths(values))}"
        )
    flat = all(growth <= MAX_GROWTH for growth in growths.values())
    return 0 if flat and not status.num_failed and not status.engine.num_deaths else 1


def growth_of(values: list[int]) -> float:
    """Return by how much the last third lies above the first, warm-up left out."""
    warm = values[len(values) // 5 :]
    third = max(1, len(warm) // 3)
    return statistics.median(warm[-third:]) / statistics.median(warm[:third]) - 1


def by_tenths(values: list[int]) -> list[float]:
    """Return the medians of ten equal stretches, or of fewer when there are fewer values."""
    size = max(1, len(values) // 10)
    return [
        statistics.median(values[start : start + size]) for start in range(0, size * 10, size) if start < len(values)
    ]


def one_job(client: Client, rng: random.Random) -> str:
    """Run one job of some verb, or cancel it part way; return how it ended."""
    plain = replace(a_job("house drums and bass"), num_samples=round(rng.choice(LENGTHS_SECONDS) * RATE), steps=4)
    plain = replace(plain, seed=rng.randrange(2**32))
    job = plain if rng.random() < 0.5 else edited(client, plain, rng)
    if rng.random() < 0.2:
        with client.submit(job) as stream:
            for number, _ in enumerate(stream):
                if number == 3:
                    stream.cancel()
        return "cancelled or just finished"
    client.generate(job)
    return "finished"


def edited(client: Client, plain: Job, rng: random.Random) -> Job:
    """Return an edit of a new clip."""
    samples = client.generate(plain).samples
    audio, length = client.put_audio(samples), samples.shape[1]
    again = replace(plain, job_id=new_job_id())
    verbs: tuple[Callable[[], Job], ...] = (
        lambda: edits.inpaint(again, audio, length, (Region(length // 4, length // 2),)),
        lambda: edits.continue_after(again, audio, length, RATE),
        lambda: edits.restyle(again, audio, length, 0.5),
        lambda: edits.loop(again, audio, length),
        lambda: replace(again, num_variations=2, draft=True),
    )
    return rng.choice(verbs)()


if __name__ == "__main__":
    raise SystemExit(main())
