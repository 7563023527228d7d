"""Time from a request to its first audio chunk and to its end, with the real daemon and a real model.

Run: python benchmarks/first_chunk.py [--runs N] [--seconds S ...] [--threads N] [--model NAME]
Every run is a new prompt and seed in a warm daemon of its own; percentiles are over the runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

from sa3_daw.client import AudioChunk, Client, Finished, new_job_id
from sa3_daw.errors import DaemonUnreachable
from sa3_daw.job import Job, TempoPoint
from sa3_daw.protocol.endpoints import read_connection

SAMPLE_RATE = 48000
BAR_SECONDS = 4 * 60 / 127.5
PROMPTS = ("house drums and bass", "warm pads", "funky bass line", "techno hats", "piano chords")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, nargs="+", default=[4 * BAR_SECONDS, 10.0, 30.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="nano")
    asked = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {asked.threads} threads, {asked.model}"
    )
    with tempfile.TemporaryDirectory() as directory:
        daemon = start_daemon(Path(directory), asked.threads, asked.model)
        try:
            with connected(Path(directory), daemon) as client:
                client.generate(a_job(asked.model, 1.0, 0))
                for seconds in asked.seconds:
                    measure(client, asked.model, seconds, asked.runs)
        finally:
            daemon.terminate()
            daemon.wait()


def start_daemon(directory: Path, num_threads: int, model: str) -> subprocess.Popen[bytes]:
    environment = {"SA3_RUNTIME_DIR": str(directory), "SA3_ENGINE_THREADS": str(num_threads), "SA3_PRELOAD": model}
    environment |= {"SA3_LOG_LEVEL": "warning"}
    return subprocess.Popen([sys.executable, "-m", "sa3_daw", "serve"], env={**os.environ, **environment})


def connected(directory: Path, daemon: subprocess.Popen[bytes]) -> Client:
    pause = threading.Event()
    while True:
        try:
            return Client(read_connection(directory))
        except DaemonUnreachable:
            if daemon.poll() is not None:
                raise
            pause.wait(0.02)


def a_job(model: str, seconds: float, number: int) -> Job:
    return Job(
        job_id=new_job_id(),
        prompt=PROMPTS[number % len(PROMPTS)],
        num_samples=round(seconds * SAMPLE_RATE),
        sample_rate=SAMPLE_RATE,
        seed=number,
        tempo_map=(TempoPoint(0.0, 127.5),),
        model=model,
    )


def measure(client: Client, model: str, seconds: float, num_runs: int) -> None:
    first, total, overhead = [], [], []
    for number in range(num_runs):
        started = perf_counter()
        first_seconds = 0.0
        for event in client.submit(a_job(model, seconds, number)):
            if isinstance(event, AudioChunk) and not first_seconds:
                first_seconds = perf_counter() - started
            elif isinstance(event, Finished):
                total.append(perf_counter() - started)
                overhead.append(total[-1] - sum(event.timings_seconds.values()))
        first.append(first_seconds)
    print(f"{seconds:5.1f} s of audio, {num_runs} runs:")
    for name, values in (("first chunk", first), ("total", total), ("outside the engine's stages", overhead)):
        print(f"  {name:<28} p50 {percentile(values, 50):6.3f} s   p99 {percentile(values, 99):6.3f} s")
    print(f"  {'times real time (p50)':<28} {seconds / percentile(total, 50):6.1f}")


def percentile(values: list[float], share: int) -> float:
    """Return the smallest value that ``share`` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


if __name__ == "__main__":
    main()
