"""Soak a daemon: `python -m tests.load.soak --minutes N`. Jobs of every verb, cancels and new clients, memory watched.

Every memory with a bound is filled first: the engine's of heard latents and of texts, the store's of takes. Then the
resident memory of front and engine is taken once a second from the daemon's own status, and so is the part of it that
no file backs. The first fifth is left out; the medians of the first and the last third of what remains are compared:
they may differ by MAX_GROWTH.
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

import numpy as np

from sa3_daw import edits
from sa3_daw.client import Client, new_job_id
from sa3_daw.config import ENGINE_COMMAND
from sa3_daw.generation.conditioning import REMEMBERED_TEXTS
from sa3_daw.generation.heard import MAX_BYTES
from sa3_daw.job import Job, Region
from tests.running_daemon import RunningDaemon, a_job, data_dir

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
    started = monotonic()
    memory: dict[str, list[int]] = {name: [] for name in ("front", "front, anonymous", "engine", "engine, anonymous")}
    ends: Counter[str] = Counter()
    client = daemon.client()
    watcher = daemon.client()
    num_filled = fill(client, daemon)
    print(f"memories full after {num_filled} jobs and {monotonic() - started:.0f} s", flush=True)
    started = sampled = told = monotonic()
    while monotonic() - started < seconds:
        if rng.random() < 0.1:
            client.close()
            client = daemon.client()
        ends[one_job(client, rng)] += 1
        if monotonic() - sampled > 1:
            sampled = monotonic()
            status = watcher.status()
            memory["front"].append(status.num_bytes)
            memory["engine"].append(status.engine.num_bytes)
            memory["front, anonymous"].append(anonymous_bytes(status.pid))
            memory["engine, anonymous"].append(anonymous_bytes(status.engine.pid))
            if sampled - told > seconds / 10:
                told = sampled
                now = ", ".join(f"{name} {values[-1] / 1e6:.1f} MB" for name, values in memory.items())
                print(f"{(sampled - started) / 60:.1f} minutes: {now}", flush=True)
    status = watcher.status()
    client.close()
    watcher.close()
    growths = {name: growth_of(values) for name, values in memory.items()}
    print(f"{seconds / 60:g} minutes, {sum(ends.values())} jobs: {dict(ends)}; {status.store.num_takes} takes kept")
    print(f"failed {status.num_failed}, engine deaths {status.engine.num_deaths}, still live {len(status.jobs)}")
    for name, values in memory.items():
        print(
            f"{name}: {values[0] / 1e6:.1f} MB at first, {values[-1] / 1e6:.1f} MB at last, "
            f"median of the last third against the first after warm-up {100 * growths[name]:+.2f} %; "
            f"by tenths {' '.join(f'{value / 1e6:.1f}' for value in by_tenths(values))}"
        )
    flat = all(growth <= MAX_GROWTH for growth in growths.values())
    return 0 if flat and not status.num_failed and not status.engine.num_deaths else 1


def fill(client: Client, daemon: RunningDaemon) -> int:
    """Fill what is remembered within bounds: texts and heard latents in the engine, takes on disk; return the jobs."""
    for number in range(REMEMBERED_TEXTS):
        client.generate(a_job(f"house drums and bass number {number}", num_samples=RATE // 2))
    num_sources = num_done = 0
    time = np.arange(20 * RATE, dtype=np.float32) / RATE
    while num_done <= num_sources:
        samples = np.sin(2 * np.pi * (100 + num_done) * time, dtype=np.float32) / 2
        audio = client.put_audio(np.stack((samples, samples)))
        plain = replace(a_job("house drums and bass"), steps=4)
        client.generate(edits.inpaint(plain, audio, len(samples), (Region(0, RATE // 2),)))
        latents = (data_dir(daemon.runtime_dir) / "latents").glob("*/*.latents")
        num_sources = num_sources or MAX_BYTES // max(path.stat().st_size for path in latents)
        num_done += 1
    return REMEMBERED_TEXTS + num_done


def anonymous_bytes(pid: int) -> int:
    """Return the resident memory of a process that no file backs, on Linux."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


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
