"""Fuzz framing and admission: `python -m tests.fuzz.fuzz_messages --runs N [--seed S]`. Knows engines, not messages.

With atheris installed (`pip install -e .[fuzz]`) inputs are guided by coverage; otherwise real messages are mutated at
random. Memory is read before and after: the second half of the runs must not hold more than the first did.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import sys
import tempfile
from pathlib import Path
from time import perf_counter

MAX_INPUT_BYTES = 8192
MAX_GROWTH_BYTES = 8 << 20
"""Allocator noise over a million inputs; a leak of 16 bytes an input would show."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris"):
        with tempfile.TemporaryDirectory() as folder:
            guided(asked.runs, asked.seed, Path(folder))
    else:
        unguided(asked.runs, asked.seed)


class Watch:
    """Counts inputs, takes the memory half way and at the end, tells the figures."""

    def __init__(self, engine: str, num_runs: int) -> None:
        from tests.fuzz.target import Target

        self._target, self._engine, self._num_runs = Target(), engine, num_runs
        self._num_inputs = 0
        self._memory_half_way = 0
        self._started = perf_counter()

    def __call__(self, content: bytes) -> None:
        self._target(content)
        self._num_inputs += 1
        if self._num_inputs == self._num_runs // 2:
            self._memory_half_way = resident_bytes()
        if self._num_inputs == self._num_runs:
            self._tell()

    def _tell(self) -> None:
        target, growth = self._target, resident_bytes() - self._memory_half_way
        seconds = perf_counter() - self._started
        print(
            f"{self._engine}: {self._num_inputs} inputs in {seconds:.0f} s, no crash; {target.num_read} read, "
            f"{target.num_admitted} jobs admitted, {target.num_refused} refusals; memory grew by {growth / 1e6:.1f} MB "
            "in the second half",
            flush=True,
        )
        assert growth < MAX_GROWTH_BYTES, "memory grew"


def guided(num_runs: int, seed: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["sa3_daw", "tests.fuzz"]):
        from tests.fuzz.target import corpus, models_in_memory, mutated
    messages = corpus()

    def mutate(content: bytes, max_bytes: int, seed: int) -> bytes:
        """Let libFuzzer change the bytes of one input in four; else change values of that input or a real message."""
        rng = random.Random(seed)
        if rng.randrange(4) == 0:
            return bytes(atheris.Mutate(content, max_bytes))
        return mutated(content if rng.randrange(2) else rng.choice(messages), rng, messages)[:max_bytes]

    for number, content in enumerate(messages):
        (folder / f"{number:03d}").write_bytes(content)
    options = [
        f"-runs={num_runs}",
        f"-seed={seed}",
        f"-max_len={MAX_INPUT_BYTES}",
        "-print_final_stats=0",
        "-verbosity=0",
    ]
    options += ["-rss_limit_mb=2048", f"-artifact_prefix={Path.cwd()}/", str(folder)]
    atheris.Setup([sys.argv[0], *options], Watch("atheris", num_runs), custom_mutator=mutate)
    with models_in_memory():
        atheris.Fuzz()


def unguided(num_runs: int, seed: int) -> None:
    from tests.fuzz.target import corpus, models_in_memory, mutated

    rng, messages, watch = random.Random(seed), corpus(), Watch("random mutation", num_runs)
    with models_in_memory():
        for _ in range(num_runs):
            watch(mutated(rng.choice(messages), rng, messages))


def resident_bytes() -> int:
    """Return this process's resident memory; 0 where the system does not tell, so that growth is 0."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


if __name__ == "__main__":
    main()
