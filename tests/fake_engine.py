"""A real engine process without a model: tones, slow steps, failures and sudden deaths, as the prompt asks.

Prompt words: steps=N, step_ms=N, chunk=N (samples), chunk_ms=N, stop_after=N (samples), fail=CODE, exit_at=N (step),
hang_at=N (step), breach=gap|beyond|no_take, boom, oom.
Environment: FAKE_ENGINE_START=exit makes it end before it is ready.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np

from sa3_daw.engine.main import Link, read_settings, serve
from sa3_daw.errors import BY_CODE
from sa3_daw.generation.events import AudioChunk, Event, Finished, Progress, TakeMade
from sa3_daw.job import Job, Region
from sa3_daw.protocol.messages import ResidentModel

PEAK = 0.5


def wishes(prompt: str) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in prompt.split()}


def tone(job: Job, variation: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the clip this engine makes of a job: a sine on the left, its seed's noise on the right."""
    time = np.arange(job.num_samples) / job.sample_rate
    noise = np.random.default_rng(job.seed + variation).uniform(-PEAK, PEAK, job.num_samples)
    return np.stack([PEAK * np.sin(2 * np.pi * 440 * time), noise]).astype(np.float32)


class FakeEngine:
    """Models are names; the last one asked for is resident."""

    def __init__(self) -> None:
        self._models: tuple[ResidentModel, ...] = ()

    def run(self, job: Job, look: Callable[[], None]) -> Iterator[Event]:
        self.load(job.model, 0.0)
        return run(job)

    def load(self, name: str, keep_alive_seconds: float) -> None:
        self._models = (ResidentModel(name, "cpu", "fp32", 1000),)

    def unload(self, name: str) -> None:
        self._models = tuple(model for model in self._models if model.name != name)

    def models(self) -> tuple[ResidentModel, ...]:
        return self._models


def run(job: Job) -> Iterator[Event]:
    asked = wishes(job.prompt)
    pause = threading.Event()
    num_steps = int(asked.get("steps", 2))
    yield Progress("conditioning", 1, 1)
    for step in range(num_steps):
        pause.wait(int(asked.get("step_ms", 0)) / 1000)
        if asked.get("exit_at") == str(step):
            os._exit(9)
        if asked.get("hang_at") == str(step):
            pause.wait(3600)
        yield Progress("sampling", step + 1, num_steps)
    if "boom" in asked:
        raise RuntimeError("boom")
    if "oom" in asked:
        raise MemoryError
    if "fail" in asked:
        raise BY_CODE[asked["fail"]]("failed as asked", field="prompt", value=job.prompt, allowed="no wish to fail")
    chunk = int(asked.get("chunk", 4096))
    for variation in range(job.num_variations):
        samples = tone(job, variation)
        for start in range(0, job.num_samples if job.draft else 0, chunk):
            yield AudioChunk(start, np.float32(0.5) * samples[:, start : start + chunk], variation, True)
        if asked.get("breach") == "gap":
            yield AudioChunk(1, samples[:, 1:], variation)
        if asked.get("breach") == "beyond":
            yield AudioChunk(0, np.concatenate((samples, samples), axis=1), variation)
        if asked.get("breach") == "no_take":
            break
        for start in range(0, job.num_samples, chunk):
            if asked.get("stop_after") == str(start):
                pause.wait(3600)
            pause.wait(int(asked.get("chunk_ms", 0)) / 1000)
            yield AudioChunk(start, samples[:, start : start + chunk], variation)
        changed = job.regions or (Region(0, job.num_samples),)
        yield TakeMade(variation, job.seed + variation, job.num_samples, -6.0, -9.0, None, None, None, changed)
    yield Finished(job.num_samples, -6.0, -9.0, {"sampling": 0.001, "decoding": 0.001})


def main() -> int:
    settings = read_settings()
    if os.environ.get("FAKE_ENGINE_START") == "exit":
        return 3
    link = Link(settings)
    serve(link, FakeEngine())
    link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
