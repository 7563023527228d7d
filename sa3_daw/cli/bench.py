"""`sa3-daw bench`: request to first audible chunk, draft and end; cancel to its effects. Knows no model.

It has a warm daemon of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from rich.console import Console

from sa3_daw.cli.overview import plain_table
from sa3_daw.cli.request import checked
from sa3_daw.client import Accepted, AudioChunk, Cancelled, Client, Finished, JobStream, Progress, new_job_id
from sa3_daw.config import environment_with
from sa3_daw.errors import DaemonUnreachable, invalid
from sa3_daw.job import Job, TempoPoint
from sa3_daw.protocol.endpoints import read_connection

SAMPLE_RATE, BPM = 48_000, 127.5
PROMPTS = ("house drums and bass", "warm pads", "funky bass line", "techno hats", "piano chords")
AUDIBLE = 10 ** (-60 / 20)
"""A chunk whose peak lies below this is silence to a listener."""
START_SECONDS = 60.0
MANY_STEPS = 50
TIMED_STEPS = 4

Times = dict[str, list[float]]


def run(arguments: argparse.Namespace) -> int:
    num_runs = checked("runs", arguments.runs, 1)
    num_threads = checked("threads", arguments.threads, 1)
    num_samples = checked("seconds in samples", round(arguments.seconds * SAMPLE_RATE), 1)
    with own_daemon(num_threads, arguments.model) as client:
        job = Job("", "", num_samples, SAMPLE_RATE, 0, (TempoPoint(0.0, BPM),), model=arguments.model)
        measure(client, job, 2, {})
        times: Times = {}
        measure(client, job, num_runs, times)
        measure(client, replace(job, draft=True), num_runs, times)
        cancels = steps_to_cancel(client, replace(job, prompt=PROMPTS[0], steps=MANY_STEPS), num_runs)
    shown = {name: {"p50": percentile(values, 50), "p99": percentile(values, 99)} for name, values in times.items()}
    ratios = ratios_of(shown, num_samples / SAMPLE_RATE)
    ratios |= {
        f"{name} / step, p{share}": percentile(waits, share) for name, waits in cancels.items() for share in (50, 99)
    }
    if arguments.json:
        print(json.dumps({"seconds": num_samples / SAMPLE_RATE, "runs": num_runs, **shown, "ratios": ratios}))
        return 0
    length = f"{num_samples / SAMPLE_RATE:g} s of audio at {SAMPLE_RATE} Hz"
    print(f"{arguments.model}, {length}, warm, {num_runs} runs, {num_threads} threads on {os.cpu_count()} processors")
    table = plain_table("seconds from the request", "p50", "p99")
    for name, row in shown.items():
        table.add_row(name, f"{row['p50']:.3f}", f"{row['p99']:.3f}")
    Console(highlight=False).print(table)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    return 0


@contextmanager
def own_daemon(num_threads: int, model: str) -> Iterator[Client]:
    """Yield a client of a daemon that nobody else uses and that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="sa3-bench-") as folder:
        ours = {"runtime_dir": f"{folder}/run", "data_dir": f"{folder}/data", "log_level": "warning"}
        ours |= {"engine_threads": str(num_threads), "preload": model}
        daemon = subprocess.Popen([sys.executable, "-m", "sa3_daw", "serve"], env=environment_with(ours))
        try:
            with connected(Path(folder) / "run", daemon) as client:
                yield client
        finally:
            daemon.terminate()
            daemon.wait()


def connected(runtime_dir: Path, daemon: subprocess.Popen[bytes]) -> Client:
    started = perf_counter()
    while True:
        try:
            return Client(read_connection(runtime_dir))
        except DaemonUnreachable:
            if daemon.poll() is not None or perf_counter() - started > START_SECONDS:
                raise
            sleep(0.02)


def measure(client: Client, job: Job, num_runs: int, times: Times) -> None:
    """Run a job often, each time with another prompt and seed, and add its times."""
    for number in range(num_runs):
        each = replace(job, job_id=new_job_id(), seed=number, prompt=PROMPTS[number % len(PROMPTS)])
        for name, seconds in one_run(client, each).items():
            times.setdefault(name, []).append(seconds)


def one_run(client: Client, job: Job) -> dict[str, float]:
    """Return the seconds from the request to each moment of one job."""
    started, kind = perf_counter(), "with draft: " if job.draft else ""
    moments: dict[str, float] = {}
    for event in client.submit(job):
        if isinstance(event, AudioChunk) and float(np.abs(event.samples).max()) > AUDIBLE:
            moments.setdefault("draft audible" if event.draft else f"{kind}audible", perf_counter() - started)
        elif isinstance(event, Finished):
            steps = event.timings_seconds.get("conditioning", 0) + event.timings_seconds.get("sampling", 0)
            moments[f"{kind}steps done"] = steps
            moments[f"{kind}finished"] = perf_counter() - started
    if f"{kind}audible" not in moments:
        raise invalid("model", job.model, "a model whose clips are audible")
    return moments


def steps_to_cancel(client: Client, job: Job, num_runs: int) -> Times:
    """Cancel a job of many steps again and again, at any moment of a step, while another waits.

    Return, in steps, how long it took until it was cancelled and until the engine had begun with the other.
    """
    chance, waits = random.Random(0), Times()
    for _ in range(num_runs):
        with client.submit(replace(job, job_id=new_job_id())) as stream:
            told = [step_told(stream) for _ in range(TIMED_STEPS)]
            with client.submit(replace(job, job_id=new_job_id())) as following:
                assert isinstance(next(following), Accepted)
                step_seconds = (told[-1] - told[0]) / (len(told) - 1)
                sleep(chance.uniform(0, step_seconds))
                asked = perf_counter()
                stream.cancel()
                assert isinstance(list(stream)[-1], Cancelled)
                waits.setdefault("cancel", []).append((perf_counter() - asked) / step_seconds)
                assert isinstance(next(following), Progress)
                waits.setdefault("cancel to the next job", []).append((perf_counter() - asked) / step_seconds)
    return waits


def step_told(stream: JobStream) -> float:
    """Return when the job's next step was told."""
    while not isinstance(event := next(stream), Progress) or event.stage != "sampling":
        pass
    return perf_counter()


def ratios_of(shown: dict[str, dict[str, float]], audio_seconds: float) -> dict[str, float]:
    """Return what can be compared between machines."""
    p50 = {name: row["p50"] for name, row in shown.items()}
    ratios = {
        "audible / finished": p50["audible"] / p50["finished"],
        "audible - steps, seconds": p50["audible"] - p50["steps done"],
        "audio / finished (times real time)": audio_seconds / p50["finished"],
    }
    if "draft audible" in p50:
        ratios["draft audible / audible"] = p50["draft audible"] / p50["audible"]
    return ratios


def percentile(values: list[float], share: int) -> float:
    """Return the smallest value that ``share`` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]
