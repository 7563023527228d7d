"""Freed memory, given back to the system now and then; glibc by itself keeps it in ever more pieces. Knows no model."""

from __future__ import annotations

import ctypes
import sys
from time import monotonic

PAUSE_SECONDS = 10.0
"""After each time the next job has its pages to fetch anew, some 10 ms; so it is not done after every job. In a minute
of jobs the pieces would have spread over ever more pages: 25 MB in five minutes of short ones."""


class SpareMemory:
    """What this process has freed and still holds."""

    def __init__(self) -> None:
        self._given_back_at = monotonic()

    @property
    def due_in_seconds(self) -> float:
        """How long it is to be kept; 0 when it is due."""
        return max(0.0, self._given_back_at + PAUSE_SECONDS - monotonic())

    def give_back(self) -> None:
        """Give it back now."""
        give_back()
        self._given_back_at = monotonic()


def give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
