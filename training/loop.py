"""The training loop of every stage: parts, optimisers, average, log, checkpoint, resume. Knows no model and no data.

A step is made of parts (micro-batches). Every part is drawn from the seed, the step and the part's number alone, so
a run that stopped continues with the batches it would have seen, and any number of processes computes the same step.
"""

from __future__ import annotations

import hashlib
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sa3_daw.errors import Sa3Error
from sa3_training.checkpoints import load_state, save_state
from sa3_training.optim import Ema, set_share, trapezoid
from sa3_training.progress import Reporter
from sa3_training.sharding import clip_gradients, load_optimiser, spread_like, whole
from sa3_training.world import World

Numbers = dict[str, float]

MOST_LEFT_OUT = 10
"""Steps in a row without finite gradients that end a run: hours must not be lost on what will not learn."""


class Diverged(Sa3Error):
    """The numbers of a training run are no longer finite; its checkpoint is."""

    code = "diverged"


@dataclass(frozen=True)
class LoopRecipe:
    """How long a stage trains: ``num_steps``, and at most ``minutes`` over all resumptions (0: no such bound).

    The learning rate falls towards the nearer end. Only a bound in steps makes runs repeatable bit for bit.
    """

    num_steps: int
    minutes: float = 0.0
    num_parts: int = 1
    seed: int = 0
    save_every_seconds: float = 120.0
    log_every_steps: int = 10

    def progress(self, step: int, elapsed_seconds: float) -> float:
        """Return how much of the run is done, 0 to 1."""
        by_time = elapsed_seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.num_steps, by_time))


@dataclass(frozen=True)
class Draw:
    """Where one part's randomness comes from."""

    seed: int
    step: int
    part: int

    def random(self) -> random.Random:
        """Return Python's generator of this part."""
        return random.Random(f"{self.seed} {self.step} {self.part}")

    def generator(self) -> torch.Generator:
        """Return torch's generator of this part, on the CPU for the same numbers everywhere."""
        digest = hashlib.blake2b(f"{self.seed} {self.step} {self.part}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@dataclass
class Learner:
    """Something that learns: trained module, optimisers, and an averaged copy when ``ema`` is given."""

    module: nn.Module
    optimisers: Sequence[torch.optim.Optimizer]
    ema: Ema | None = None
    max_gradient_norm: float = 1.0
    num_left_out: int = 0
    """Steps left out in a row because their gradients were not finite."""

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]

    def descend(self, world: World, share: float) -> float:
        """Take one step along the gradients of all processes at ``share`` of the learning rate; return their norm.

        A step whose gradients are not finite is left out. Raises Diverged when many in a row are.
        """
        world.sum_gradients(self.parameters())
        norm = clip_gradients(self.parameters(), self.max_gradient_norm)
        is_sound = math.isfinite(norm)
        self.num_left_out = 0 if is_sound else self.num_left_out + 1
        if self.num_left_out >= MOST_LEFT_OUT:
            raise Diverged(
                f"the gradients of {MOST_LEFT_OUT} steps in a row are not finite; what was saved before is sound. "
                "Lower the learning rate, or look for a clip that is not sound"
            )
        for optimiser in self.optimisers:
            set_share(optimiser, share)
            if is_sound:
                optimiser.step()
            optimiser.zero_grad()
        if self.ema and is_sound:
            self.ema.update(self.module)
        return norm

    def state(self) -> dict[str, Any]:
        """Return everything that must be saved, made whole: trained parameters and buffers, optimisers, average.

        All processes must call it together when the weights are spread over them.
        """
        state: dict[str, Any] = {
            "module": trained_state(self.module),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        if self.ema:
            state |= {"ema": self.ema.state, "ema_count": self.ema.count}
        made_whole: dict[str, Any] = whole(state)
        return made_whole

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()`` of the same recipe."""
        own = trained_state(self.module)
        if own.keys() != state["module"].keys():
            raise ValueError(f"the checkpoint is of another model: {sorted(own.keys() ^ state['module'].keys())[:5]}")
        with torch.no_grad():
            for key, tensor in state["module"].items():
                own[key].copy_(spread_like(tensor, own[key]))
        for optimiser, part in zip(self.optimisers, state["optimisers"], strict=True):
            load_optimiser(optimiser, part)
        if self.ema:
            averages = self.ema.state
            self.ema.state = {
                key: spread_like(tensor.to(averages[key].device), averages[key]) for key, tensor in state["ema"].items()
            }
            self.ema.count = state["ema_count"]


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the trained parameters and all persistent buffers; a frozen base is not saved again and again."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


@dataclass
class Stage:
    """One stage: its learners by name, and ``advance(step, share)``, which takes one step of each."""

    learners: Mapping[str, Learner]
    advance: Callable[[int, float], Numbers]


@dataclass(frozen=True)
class Every:
    """Something done after every ``num_steps`` steps and at the end; it returns numbers for the log."""

    num_steps: int
    act: Callable[[int], Numbers]


@dataclass
class Position:
    """Where a run stands; ``is_done`` is False when it was asked to stop before its end."""

    step: int = 0
    elapsed_seconds: float = 0.0
    is_done: bool = False


def plain_stage(
    learner: Learner, loss: Callable[[Draw], tuple[Tensor, Numbers]], recipe: LoopRecipe, world: World, name: str
) -> Stage:
    """Return the stage of one learner and one loss, the mean of ``loss`` over a step's parts."""

    def advance(step: int, share: float) -> Numbers:
        numbers = accumulate(loss, recipe, step, world)
        learner.descend(world, share)
        return numbers

    return Stage({name: learner}, advance)


def accumulate(loss: Callable[[Draw], tuple[Tensor, Numbers]], recipe: LoopRecipe, step: int, world: World) -> Numbers:
    """Back-propagate the mean loss of this process's parts of a step; return the means over all parts."""
    total: Numbers = {}
    for part in world.parts(recipe.num_parts):
        value, numbers = loss(Draw(recipe.seed, step, part))
        torch.autograd.backward(value / recipe.num_parts)
        for key, number in (numbers | {"loss": float(value.detach())}).items():
            total[key] = total.get(key, 0.0) + number / recipe.num_parts
    return world.sum_numbers(total)


def train(
    stage: Stage,
    recipe: LoopRecipe,
    out: Path,
    name: str,
    world: World,
    report: Reporter | None = None,
    events: Sequence[Every] = (),
) -> Position:
    """Advance the stage to its end, continuing ``out/name.ckpt`` when it exists; return where it stands.

    The checkpoint is written every ``save_every_seconds`` and at the end, after the events of its step. An interrupt
    or a polite kill ends the present step, saves and returns.
    """
    with StopSignals() as stop:
        return _train(stage, recipe, out, name, world, report, events, stop)


def _train(
    stage: Stage, recipe: LoopRecipe, out: Path, name: str, world: World, report: Reporter | None,
    events: Sequence[Every], stop: StopSignals,
) -> Position:  # fmt: skip
    path = out / f"{name}.ckpt"
    position = resume(stage, path)
    started, before = time.monotonic(), position.elapsed_seconds
    saved = before
    sums: Numbers = {}
    count = 0
    done = recipe.progress(position.step, position.elapsed_seconds)
    while done < 1 and not _any_asked(stop, world):
        numbers = stage.advance(position.step, trapezoid(done))
        position.step += 1
        position.elapsed_seconds = _agreed(before + time.monotonic() - started, world)
        done = recipe.progress(position.step, position.elapsed_seconds)
        for key, value in numbers.items():
            sums[key] = sums.get(key, 0.0) + value
        count += 1
        seen = _events(events, position.step, done)
        if report and (position.step % recipe.log_every_steps == 0 or seen or done >= 1):
            report.numbers(position.step, {key: value / count for key, value in sums.items()} | seen, done)
            sums, count = {}, 0
        if position.elapsed_seconds - saved > recipe.save_every_seconds:
            save(stage, position, path, world)
            saved = _agreed(before + time.monotonic() - started, world)
    position.is_done = done >= 1
    save(stage, position, path, world)
    return position


class StopSignals:
    """While entered, SIGINT and SIGTERM only set ``asked``; a second one acts as usual."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def save(stage: Stage, position: Position, path: Path, world: World) -> None:
    """Write the checkpoint, whole or not at all, from the first process."""
    learners = {name: learner.state() for name, learner in stage.learners.items()}
    if world.is_first:
        save_state({"learners": learners, "step": position.step, "elapsed_seconds": position.elapsed_seconds}, path)
    world.wait()


def resume(stage: Stage, path: Path) -> Position:
    """Load the checkpoint into the stage, if there is one."""
    if not path.exists():
        return Position()
    state = load_state(path)
    for name, learner in stage.learners.items():
        learner.load(state["learners"][name])
    return Position(state["step"], state["elapsed_seconds"])


def stored_step(path: Path) -> int:
    """Return the step a checkpoint stands at; 0 when there is none."""
    return int(load_state(path)["step"]) if path.exists() else 0


def has_ended(recipe: LoopRecipe, path: Path) -> bool:
    """Say whether a checkpoint stands at the recipe's end."""
    if not path.exists():
        return False
    state = load_state(path)
    return recipe.progress(state["step"], state["elapsed_seconds"]) >= 1


def averaged(path: Path, learner: str) -> dict[str, Tensor]:
    """Return the averaged weights of one learner of a checkpoint."""
    state: dict[str, Tensor] = load_state(path)["learners"][learner]["ema"]
    return state


def _events(events: Sequence[Every], step: int, done: float) -> Numbers:
    numbers: Numbers = {}
    for event in events:
        if step % event.num_steps == 0 or done >= 1:
            numbers |= event.act(step)
    return numbers


def _agreed(seconds: float, world: World) -> float:
    """Return the mean over all processes, so that they save and end at the same step."""
    return world.sum_numbers({"seconds": seconds})["seconds"] / world.size


def _any_asked(stop: StopSignals, world: World) -> bool:
    """Say whether any process was asked to stop: a signal does not reach all of them in the same step."""
    return world.sum_numbers({"asked": float(stop.asked)})["asked"] > 0
