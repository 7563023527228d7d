"""The training loop of codec and DiT: time budget, two optimisers, average, log, resume. Knows no model and no data.

A step is drawn from the seed and its number alone, so a run that stopped continues from its last checkpoint
with the batches it would have seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sa3_training.optim import Ema, optimisers, set_share, trapezoid

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class LoopRecipe:
    """``minutes`` bounds the wall time over all resumptions; the learning rate decays towards its end."""

    minutes: float
    muon_lr: float
    adam_lr: float
    ema: float
    seed: int
    save_every_seconds: float = 120.0
    log_every_steps: int = 25


@dataclass
class Run:
    """Everything a checkpoint holds besides the recipe."""

    module: nn.Module
    ema: Ema
    parts: list[torch.optim.Optimizer]
    step: int = 0
    elapsed_seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "module": self.module.state_dict(),
            "ema": self.ema.state,
            "ema_count": self.ema.count,
            "parts": [part.state_dict() for part in self.parts],
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of a run with the same recipe."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.ema.state, self.ema.count = state["ema"], state["ema_count"]
        for part, part_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(part_state)
        self.step, self.elapsed_seconds = state["step"], state["elapsed_seconds"]


def train(module: nn.Module, loss_of_step: Callable[[int], Tensor], recipe: LoopRecipe, out: Path, name: str) -> None:
    """Minimise ``loss_of_step(step)`` until the time is spent, continuing ``out/name.ckpt`` when it exists.

    Writes the checkpoint every few minutes and at the end, and one line of ``out/name.log`` per
    ``log_every_steps``. The averaged weights are ``averaged(out / "name.ckpt")``.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.ckpt"
    run = Run(module, Ema(module, recipe.ema), optimisers(module, recipe.muon_lr, recipe.adam_lr))
    if path.exists():
        run.load(path)
    before, started = run.elapsed_seconds, time.monotonic()
    saved, losses = started, []
    with (out / f"{name}.log").open("a", encoding="utf-8") as log:
        while (progress := run.elapsed_seconds / (60 * recipe.minutes)) < 1:
            losses.append(descend(run, loss_of_step(run.step), trapezoid(progress)))
            run.step += 1
            now = time.monotonic()
            run.elapsed_seconds = before + now - started
            if run.step % recipe.log_every_steps == 0:
                entry = {"step": run.step, "loss": round(sum(losses) / len(losses), 4), "progress": round(progress, 4)}
                print(json.dumps(entry), file=log, flush=True)
                losses.clear()
            if now - saved > recipe.save_every_seconds:
                run.save(path)
                saved = now
    run.save(path)


def descend(run: Run, loss: Tensor, share: float) -> float:
    """Take one step of both optimisers at ``share`` of their learning rates; return the loss."""
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(run.module.parameters(), MAX_GRADIENT_NORM)
    for part in run.parts:
        set_share(part, share)
        part.step()
        part.zero_grad()
    run.ema.update(run.module)
    return float(loss.detach())


def averaged(path: Path) -> dict[str, Tensor]:
    """Return the averaged weights of a checkpoint."""
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["ema"]
    return state


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random generator of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
