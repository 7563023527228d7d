"""The process that renders one chain of effects, so that a plugin's crash or hang is its alone.

`python -m sa3_daw.render.project.chain_child REQUEST` reads what to do from a JSON file and keeps saying, in the status
file, which effect is at work. Knows no project. The only module that imports pedalboard.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw.parent import end_with_parent

AUTOMATION_BLOCK_SAMPLES = 512
"""Automated parameters are set at multiples of this, counted from the project's start."""
MAX_LATENCY_SECONDS = 10
GRACE_SECONDS = 5.0
"""Where a parent's death does not end this process, it ends itself so much later than the time limit."""
Audio = NDArray[np.float32]
Effect = dict[str, Any]


def main(request_path: Path) -> int:
    request = json.loads(request_path.read_text(encoding="utf-8"))
    # A hanging plugin must not outlive a parent that was killed: neither needs the interpreter.
    end_with_parent(request["parent_pid"])
    faulthandler.dump_traceback_later(float(request["limit_seconds"]) + GRACE_SECONDS, exit=True)
    rate = int(request["rate"])
    samples = np.fromfile(request["input"], dtype="<f4").reshape(2, -1)
    status = Path(request["status"])
    for index, effect in enumerate(request["effects"]):
        say(status, index, "")
        try:
            samples = through(effect, samples, rate)
        except Exception as error:  # Whatever a plugin or pedalboard raises belongs to this effect.
            say(status, index, f"{error}" or type(error).__name__)
            return 1
    np.ascontiguousarray(samples, dtype="<f4").tofile(request["output"])
    return 0


def say(status: Path, index: int, error: str) -> None:
    """Leave word of the effect at work, whole even if the process dies now."""
    part = status.with_name(status.name + ".new")
    part.write_text(json.dumps({"effect": index, "error": error}), encoding="utf-8")
    os.replace(part, status)


def through(effect: Effect, samples_CS: Audio, rate: int) -> Audio:
    """Return audio after one effect, as long as before and not later, whatever the effect's latency."""
    board = loaded(effect, rate)
    moves = effect["automation"]
    for move in moves:
        check_parameter(board, move["parameter"])
    num_samples = samples_CS.shape[1]
    step = AUTOMATION_BLOCK_SAMPLES if moves else max(1, num_samples)
    pieces: list[Audio] = []
    num_out = 0
    rest = min(step, rate)
    after = -(-num_samples // step) * step
    for start in (*range(0, num_samples, step), *range(after, num_samples + MAX_LATENCY_SECONDS * rate, rest)):
        if num_out >= num_samples:
            break
        for move in moves:
            setattr(board, move["parameter"], value_at(move["points"], start))
        block = samples_CS[:, start : start + step]
        if block.shape[1] < rest:  # The end, and silence after it for what an effect still holds back.
            block = np.pad(block, ((0, 0), (0, rest - block.shape[1])))
        out = board.process(block, rate, reset=False)
        pieces.append(out)
        num_out += out.shape[1]
    if num_out < num_samples:
        raise RuntimeError(f"gives {num_out} of {num_samples} samples back")
    made = np.concatenate([np.zeros((2, 0), np.float32), *pieces], axis=1)[:, :num_samples]
    if not np.isfinite(made).all():
        raise RuntimeError("gives NaN or infinity back")
    return made


def loaded(effect: Effect, rate: int) -> Any:
    """Return the effect, set up."""
    import pedalboard as native

    pedalboard: Any = native  # Which attributes there are depends on the plugin.
    parameters = dict(effect["parameters"])
    if not effect["plugin"]:
        kind = getattr(pedalboard, effect["name"], None)
        if kind is None:
            raise RuntimeError(f"this pedalboard, {pedalboard.__version__}, has no such effect")
        if "mode" in parameters:
            parameters["mode"] = getattr(pedalboard.LadderFilter.Mode, parameters["mode"])
        if effect["name"] == "Convolution":
            parameters["sample_rate"] = rate
        return kind(**parameters)
    board = pedalboard.load_plugin(effect["plugin"], plugin_name=effect["plugin_name"] or None)
    if not board.is_effect:
        raise RuntimeError("is an instrument, not an effect")
    if effect["preset"].lower().endswith(".vstpreset"):
        board.load_preset(effect["preset"])
    elif effect["preset"]:
        board.raw_state = Path(effect["preset"]).read_bytes()
    for name, value in parameters.items():
        check_parameter(board, name)
        setattr(board, name, value)
    return board


def check_parameter(board: Any, name: str) -> None:
    """Raise RuntimeError when a plugin has no such parameter; Python would take any attribute."""
    known = getattr(board, "parameters", None)
    if known is not None and name not in known:
        raise RuntimeError(f"has no parameter {name!r}; it has {', '.join(sorted(known))}")


def value_at(points: list[list[Any]], sample: int) -> Any:
    """Return an automated value: the first point's before it, numbers on a line between points, others held."""
    before = [point for point in points if point[0] <= sample]
    if not before:
        return points[0][1]
    (start, value), after = before[-1], points[len(before) :]
    if not after or isinstance(value, bool | str):
        return value
    return value + (after[0][1] - value) * (sample - start) / (after[0][0] - start)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
