"""Ends a process with the one that started it. Knows no work of either."""

from __future__ import annotations

import os
import signal
import sys


def end_with_parent(parent_pid: int) -> None:
    """Have Linux kill this process when its parent dies, however that dies; at once when it is dead already."""
    if sys.platform == "linux":
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)
