"""Work shared among processes of this machine: the same results in the same order for any number. Knows no work."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_PROCESSES = 61
"""Windows can wait for no more; no work here gains by more."""

_work: Callable[[Any], Any]


def shared(work: Callable[[Item], Result], items: Sequence[Item], num_processes: int) -> list[Result]:
    """Return ``work`` of every item. With several processes ``work`` is pickled once for each of them; results should
    be arrays and plain values, since torch hands tensors over in shared memory, of which containers have little.

    An error or an interrupt ends all processes at once, whatever they are at.
    """
    num_processes = min(num_processes, len(items), MOST_PROCESSES)
    if num_processes <= 1:
        return [work(item) for item in items]
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(num_processes, context, _start, (pickle.dumps(work), lifeline))
    try:
        with _interrupts_for_parent_alone():
            futures = [pool.submit(_do, item) for item in items]
        return [future.result() for future in futures]
    finally:
        held.close()
        pool.shutdown()
        lifeline.close()


def pieces(seeds: range, size: int) -> list[range]:
    """Return a range cut into pieces of at most ``size``."""
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _interrupts_for_parent_alone() -> Iterator[None]:
    """Let processes that are started meanwhile hear no Ctrl-C, from their first instant on; Windows cannot."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(packed: bytes, lifeline: Connection) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    _work = pickle.loads(packed)


def _end_with(lifeline: Connection) -> None:
    """End at once when the parent lets go of its end, which it does even when it is killed."""
    with suppress(OSError):
        lifeline.poll(None)
    os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)
