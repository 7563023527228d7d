"""Work shared among processes of this machine: the same results in the same order for any number. Knows no work."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_PROCESSES = 61
"""Windows can wait for no more; no work here gains by more."""

_work: Callable[[Any], Any]


def shared(work: Callable[[Item], Result], items: Sequence[Item], num_processes: int) -> list[Result]:
    """Return ``work`` of every item. With several processes ``work`` is pickled once for each of them; results should
    be arrays and plain values, since torch hands tensors over in shared memory, of which containers have little."""
    num_processes = min(num_processes, len(items), MOST_PROCESSES)
    if num_processes <= 1:
        return [work(item) for item in items]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, _start, (pickle.dumps(work),)) as pool:
        return list(pool.map(_do, items))


def pieces(seeds: range, size: int) -> list[range]:
    """Return a range cut into pieces of at most ``size``."""
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(packed: bytes) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _work = pickle.loads(packed)


def _end_with_parent() -> None:
    """End at once when the parent has: a killed parent cannot tell its workers to."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)
