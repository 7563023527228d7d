"""How long each stage of a run took. Knows nothing of what the stages do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")


class Timings:
    """Seconds by stage; what a caller does with an event counts for none."""

    def __init__(self) -> None:
        self.seconds = {"conditioning": 0.0, "sampling": 0.0, "decoding": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - started

    def timed(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, counting only the time it takes to get each."""
        source = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
