"""Weights spread over two processes train the model that one process trains, stop and go on, whole or spread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sa3_daw.models.same import Same
from sa3_training.checkpoints import load_state
from sa3_training.flow.loss import FlowRecipe
from sa3_training.loop import Every, Learner, LoopRecipe, Numbers, Stage, train
from sa3_training.progress import Reporter, read_log
from sa3_training.sharding import clip_gradients
from sa3_training.stages.dit import DitRecipe, dit_stage
from sa3_training.stages.same import SameRecipe, same_stage
from sa3_training.world import World
from tests.test_training_stages import CODEC, RATE, TEXT_DIM, denoiser, text_states, tones, waves

ROOT = Path(__file__).resolve().parent.parent
RECIPE = LoopRecipe(num_steps=6, num_parts=2)
FLOAT_ERROR = 2e-5
"""Two processes add a step's two gradients in another order; measured 2e-6 after six steps of Muon."""


def stage_of(world: World) -> Stage:
    model = denoiser()
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    world.spread(model)
    return dit_stage(model, waves, 10.0, DitRecipe(flow=FlowRecipe(couple=False)), RECIPE, world)


SAME_RECIPE = SameRecipe(
    warm_up_steps=2, learning_rate=1e-3, discriminator_width=4, probe_width=16, probe_depth=1, normal=0.05
)  # fmt: skip
SAME_LOOP = LoopRecipe(num_steps=4, num_parts=2, log_every_steps=1)
NUMBERS_ERROR = 1e-3
"""Adam turns the float error of a gradient near zero into a whole step; after four the losses still agree so far."""


def train_same(world: World, out: Path) -> None:
    """Train an autoencoder and its adversary for a few steps."""
    torch.manual_seed(0)
    same = Same(CODEC)
    world.spread(same)
    stage = same_stage(same, tones, text_states, TEXT_DIM, RATE, SAME_RECIPE, SAME_LOOP, world)
    with Reporter(out, "same", quiet=not world.is_first) as report:
        train(stage, SAME_LOOP, out, "same", world, report)


def stop_at(step: int) -> Every:
    """Interrupt the run, as Ctrl-C does, after a step."""

    def act(now: int) -> Numbers:
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    return Every(1, act)


WORKER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from sa3_training.loop import train
from sa3_training.world import join_world, leave_world
from tests.test_training_sharding import RECIPE, stage_of, stop_at, train_same
out = Path(sys.argv[1])
world = join_world("cpu", spreads_weights=True)
stage = stage_of(world)
kinds = [type(parameter).__name__ for parameter in stage.learners["dit"].module.parameters()]
assert kinds.count("DTensor") > len(kinds) // 3, kinds
train(stage, RECIPE, out / "two", "dit", world)
train(stage_of(world), RECIPE, out / "stopped", "dit", world, events=[stop_at(3)])
if world.is_first:
    (out / "alone").mkdir()
    (out / "alone" / "dit.ckpt").write_bytes((out / "stopped" / "dit.ckpt").read_bytes())
world.wait()
train(stage_of(world), RECIPE, out / "stopped", "dit", world)
train_same(world, out / "two")
leave_world(world)
"""
"""A whole run, one that is stopped after three steps, a copy of its checkpoint, and the stopped run's second half; then
an autoencoder's run."""


def run_spread(out: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--no-python", sys.executable, "-c", WORKER, str(out),
    ]  # fmt: skip
    path = {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "FSDP2-wrapped" not in done.stderr


def saved(out: Path) -> dict[str, Any]:
    return load_state(out / "dit.ckpt")["learners"]["dit"]


def same_within(one: Any, other: Any, error: float) -> None:
    """Compare two states, tensors within ``error``."""
    if isinstance(one, Tensor):
        assert type(one) is type(other) is Tensor and one.shape == other.shape
        assert float((one.double() - other.double()).abs().max()) <= error
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same_within(one[key], other[key], error)
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            same_within(a, b, error)
    else:
        assert one == other


def test_spread_weights_train_resume_and_are_saved_like_whole_ones_and_so_does_an_autoencoder(tmp_path: Path) -> None:
    train(stage_of(World()), RECIPE, tmp_path / "one", "dit", World())
    run_spread(tmp_path)
    same_within(saved(tmp_path / "one"), saved(tmp_path / "two"), FLOAT_ERROR)
    same_within(saved(tmp_path / "two"), saved(tmp_path / "stopped"), 0.0)
    assert load_state(tmp_path / "alone" / "dit.ckpt")["step"] == 3
    train(stage_of(World()), RECIPE, tmp_path / "alone", "dit", World())
    same_within(saved(tmp_path / "one"), saved(tmp_path / "alone"), FLOAT_ERROR)

    train_same(World(), tmp_path / "one")
    one, two = (read_log(tmp_path / name / "same.log") for name in ("one", "two"))
    assert "discriminator" in one[-1] and len(one) == len(two) == SAME_LOOP.num_steps
    for alone, together in zip(one, two, strict=True):
        assert alone == pytest.approx(together, rel=NUMBERS_ERROR)
    for part in ("module", "ema"):
        alone, together = (
            load_state(tmp_path / name / "same.ckpt")["learners"]["same"][part]["same.bottleneck.running_std"]
            for name in ("one", "two")
        )
        assert float(alone) != 1 and float(alone) == pytest.approx(float(together), abs=1e-6), part


def test_gradients_are_clipped_together_to_the_norm_asked_for() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(2)]
    for parameter in parameters:
        parameter.grad = torch.full((3,), 2.0)
    assert abs(clip_gradients(parameters, 1.0) - 24**0.5) < 1e-6
    assert abs(float(torch.stack([p.grad for p in parameters if p.grad is not None]).norm()) - 1) < 1e-5


def test_one_process_spreads_nothing() -> None:
    model = denoiser()
    World(spreads_weights=True).spread(model)
    assert all(type(parameter) is torch.nn.Parameter for parameter in model.parameters())
    assert Learner(model, []).state()["module"].keys() == model.state_dict().keys()
