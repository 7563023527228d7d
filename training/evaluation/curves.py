"""The curves of a run's logs on one page: every number of every stage over its steps. Knows no model and no stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from sa3_daw.errors import invalid
from sa3_training.checkpoints import replace_bytes
from sa3_training.evaluation.page import Page
from sa3_training.progress import read_log

WIDTH, HEIGHT = 420, 140
NOT_DRAWN = ("step", "progress")
SMOOTH_SHARE = 0.05
"""The dark line is a running mean over this share of the points; the pale one is what was logged."""


def write_curves(folder: Path, out: Path) -> Path:
    """Draw the numbers of all ``*.log`` files of a work folder. Raises InvalidField when there are none."""
    page = Page(f"Curves of {folder.resolve().name}")
    for path in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime):
        entries = read_log(path)
        names = dict.fromkeys(name for entry in entries for name in entry if name not in NOT_DRAWN)
        if names:
            page.section(path.stem, f"{entries[-1]['step']:.0f} steps. Pale: as logged; dark: running mean.")
        for name in names:
            points = [(entry["step"], entry[name]) for entry in entries if math.isfinite(entry.get(name, math.nan))]
            if points:
                page.drawing(caption(name, points), curve(points))
    if not page.sections:
        raise invalid("folder", str(folder), "the work folder of a run, with its .log files")
    replace_bytes(out, page.text.encode())
    return out


def caption(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a number's name with its first and last running mean."""
    means = running_mean([value for _, value in points])
    return f"{name.replace('_', ' ')}: {means[0]:.4g} to {means[-1]:.4g}"


def curve(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG drawing of some points and their running mean."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    across = WIDTH / max(steps[-1] - steps[0], 1)
    up = (HEIGHT - 4) / max(high - low, 1e-12)

    def line(heights: Sequence[float], style: str) -> str:
        places = " ".join(
            f"{(step - steps[0]) * across:.1f},{HEIGHT - 2 - (height - low) * up:.1f}"
            for step, height in zip(steps, heights, strict=True)
        )
        return f'<polyline fill="none" {style} points="{places}"/>'

    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        + line(values, 'stroke="#bcd" stroke-width="1"')
        + line(running_mean(values), 'stroke="#236" stroke-width="1.5"')
        + f'<text x="2" y="12" font-size="11">{high:.4g}</text>'
        f'<text x="2" y="{HEIGHT - 4}" font-size="11">{low:.4g}</text></svg>'
    )


def running_mean(values: Sequence[float]) -> list[float]:
    """Return the mean of the last few values at each place."""
    span = max(1, round(SMOOTH_SHARE * len(values)))
    return [sum(values[max(0, i + 1 - span) : i + 1]) / min(span, i + 1) for i in range(len(values))]
