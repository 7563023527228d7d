"""A chain of effects rendered in a child process with a time limit; what goes wrong is said of its effect.

Knows no pedalboard: the child (``chain_child.py``) is the only one to load it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.store import Store, write_planar
from sa3_daw.render.project.values import Effect

LOG_CHARS = 600


def render_chain(
    store: Store,
    key: str,
    samples_CS: NDArray[np.float32],
    rate: int,
    effects: Sequence[Effect],
    limit_seconds: float,
) -> NDArray[np.float32]:
    """Return audio after a chain, as long as before. Raises Problem at the line of the effect that failed."""
    paths = {what: store.scratch(key, what) for what in ("request", "input", "output", "status", "log")}
    try:
        for path in paths.values():  # What a run left that was killed.
            path.unlink(missing_ok=True)
        write_planar(paths["input"], samples_CS)
        request: dict[str, object] = {what: str(path) for what, path in paths.items()}
        request |= {"rate": rate, "limit_seconds": limit_seconds, "parent_pid": os.getpid()}
        content = request | {"effects": [asdict(effect) for effect in effects]}
        paths["request"].write_text(json.dumps(content), encoding="utf-8")
        outcome = run_child(paths["request"], paths["log"], limit_seconds)
        if not outcome and not paths["output"].is_file():
            outcome = "ended its process before it was done"
        if outcome:
            raise named(effects, paths, outcome)
        return np.fromfile(paths["output"], dtype="<f4").reshape(2, -1)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)


def run_child(request: Path, log: Path, limit_seconds: float) -> str:
    """Run the child to its end; return what went wrong with it, "" when nothing did."""
    command = [sys.executable, "-m", "sa3_daw.render.project.chain_child", str(request)]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = child.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            return f"did not end within {limit_seconds:g} s and was killed"
        finally:
            if child.poll() is None:
                end_family(child)
    if code == 0:
        return ""
    return f"crashed ({signal_name(-code)})" if code < 0 else f"failed (exit code {code})"


def end_family(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it has started, and collect it."""
    if os.name == "nt":
        child.kill()
    else:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def named(effects: Sequence[Effect], paths: dict[str, Path], outcome: str) -> Problem:
    """Return the problem with the name and line of the effect that was at work."""
    try:
        status = json.loads(paths["status"].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log = paths["log"].read_text(encoding="utf-8", errors="replace").strip()[-LOG_CHARS:]
        return Problem(effects[0].line, f"the process for effects {outcome} before the first: {log}")
    effect = effects[status["effect"]]
    return Problem(effect.line, f"effect {effect.name}: {status['error'] or outcome}")
