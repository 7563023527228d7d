"""What a run tells while it trains: a log of JSON lines, a progress bar, TensorBoard. Knows no model and no loss."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

TENSORBOARD_HINT = "TensorBoard is not installed; run 'pip install tensorboard'"


class Reporter:
    """Writes ``out/name.log``; shows a bar on a terminal; feeds TensorBoard in ``out/tensorboard`` when asked.

    Raises ModuleNotFoundError, with the command that mends it, when TensorBoard is asked for and missing.
    """

    def __init__(
        self, out: Path, name: str, *, bar: bool = False, tensorboard: bool = False, quiet: bool = False
    ) -> None:
        """``quiet`` tells and writes nothing: for all processes but the first."""
        out.mkdir(parents=True, exist_ok=True)
        self._quiet = quiet
        self._log: TextIO = (Path(os.devnull) if quiet else out / f"{name}.log").open("a", encoding="utf-8")
        self._board = _board(out / "tensorboard" / name) if tensorboard else None
        self._bar = Progress(
            TextColumn(name),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} % {task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not bar or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(name, total=1.0, numbers="")
        self._bar.start()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._log.close()
        if self._board:
            self._board.close()

    def numbers(self, step: int, numbers: Mapping[str, float], progress: float) -> None:
        """Log the numbers of one step (or their means since the last call)."""
        entry = {
            "step": step,
            **{key: round(value, 6) for key, value in numbers.items()},
            "progress": round(progress, 4),
        }
        print(json.dumps(entry), file=self._log, flush=True)
        shown = " ".join(f"{key} {value:.4g}" for key, value in list(numbers.items())[:3])
        self._bar.update(self._task, completed=progress, numbers=shown)
        if self._board:
            for key, value in numbers.items():
                self._board.add_scalar(key, value, step)

    def say(self, text: str) -> None:
        """Print one line to the standard error, above the bar."""
        if not self._quiet:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def audio(self, name: str, samples: Any, sample_rate: int, step: int) -> None:
        """Give TensorBoard one mono clip [S]."""
        if self._board:
            self._board.add_audio(name, samples, step, sample_rate)


def read_log(path: Path) -> list[dict[str, float]]:
    """Return a log's entries by step; of a step logged twice (a resumed run) the later one.

    A line that was cut off, by a full disk for instance, is left out.
    """
    entries: dict[float, dict[str, float]] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
            entries[entry["step"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return [entries[step] for step in sorted(entries)]


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(TENSORBOARD_HINT) from error
    return SummaryWriter(str(folder))
