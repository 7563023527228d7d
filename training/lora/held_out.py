"""The held-out part of a pack's audio: its error while training, and the warning when it rises. Knows no optimiser."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch

from sa3_training.checkpoints import write_json
from sa3_training.data.crops import Crops, on_device
from sa3_training.data.latents import Item
from sa3_training.flow.denoiser import Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.loop import Draw, Numbers
from sa3_training.progress import Reporter
from sa3_training.world import World

SHARE = 0.1
FEWEST = 5
"""Below this many files (or, in fewer files, stretches) nothing is held out: every one is needed."""

BATCHES = 4
PATIENCE = 3
MARGIN = 0.01
"""Over-fitting: this many looks in a row at least this share above the lowest."""


def split(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """Return the items to train on and those held out, whole files where there are enough."""
    names = sorted({item.name for item in items})
    if len(names) >= FEWEST:
        held = set(random.Random(seed).sample(names, max(1, round(SHARE * len(names)))))
        return [item for item in items if item.name not in held], [item for item in items if item.name in held]
    if len(items) >= FEWEST:
        chosen = set(random.Random(seed).sample(range(len(items)), max(1, round(SHARE * len(items)))))
        return (
            [item for index, item in enumerate(items) if index not in chosen],
            [item for index, item in enumerate(items) if index in chosen],
        )
    return list(items), []


class HeldOut:
    """Measures the flow error on held-out crops, always with the same noise and levels, and keeps its history."""

    def __init__(
        self, denoiser: Denoiser, crops: Crops, frame_rate: float, path: Path, report: Reporter, world: World
    ) -> None:
        self._denoiser = denoiser
        self._crops = crops
        self._frame_rate = frame_rate
        self._path = path
        self._report = report
        self._world = world
        self._warned = False
        self.history: dict[int, float] = {}
        if path.exists():
            self.history = {int(step): loss for step, loss in json.loads(path.read_text("utf-8")).items()}

    @property
    def names(self) -> list[str]:
        """The files held out."""
        return [item.name for item in self._crops.items]

    def start(self, step: int) -> None:
        """Forget what came after the checkpoint, and measure the untrained pack once."""
        self.history = {seen: loss for seen, loss in self.history.items() if seen <= step}
        if not self.history:
            self.look(0)

    def look(self, step: int) -> Numbers:
        """Measure, remember, and warn once when the error keeps rising."""
        if not self._crops.items:
            return {}
        self.history[step] = self._error()
        if self._world.is_first:
            write_json(self.history, self._path)
        if is_overfitting(list(self.history.values())) and not self._warned:
            self._warned = True
            best = min(self.history, key=lambda seen: self.history[seen])
            self._report.say(
                f"warning: the error on held-out files has risen since step {best}; the pack begins to repeat "
                f"its files. Stop around step {best}, add audio, or lower the rank"
            )
        return {"held_out": self.history[step]}

    def summary(self) -> dict[str, float]:
        """Return the error before, at the end and at its lowest; empty when nothing was held out."""
        if not self.history:
            return {}
        best = min(self.history, key=lambda seen: self.history[seen])
        losses = list(self.history.values())
        return {"before": losses[0], "last": losses[-1], "best": self.history[best], "best_step": float(best)}

    @torch.no_grad()
    def _error(self) -> float:
        plain = FlowRecipe(mask_shares=(1.0, 0.0, 0.0), context_dropout=0.0, couple=False)
        total = 0.0
        for index in range(BATCHES):
            draw = Draw(0, -1, index)
            batch = on_device(self._crops.draw(draw.random()), self._world.device)
            loss, _ = flow_loss(self._denoiser, batch, plain, self._frame_rate, draw.generator())
            total += float(loss) / BATCHES
        return total


def is_overfitting(losses: Sequence[float]) -> bool:
    """Say whether the last looks all lie above the lowest by more than the margin."""
    return len(losses) > 2 * PATIENCE and min(losses[-PATIENCE:]) > (1 + MARGIN) * min(losses)
