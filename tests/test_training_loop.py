"""Runs resume bit for bit, survive a real kill in the middle of a save, and do not care how many processes they are."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sa3_daw.errors import InvalidField
from sa3_training.checkpoints import DiskFull, load_state, remember, replace_file, require_disk, save_state
from sa3_training.loop import (
    MOST_LEFT_OUT,
    Diverged,
    Draw,
    Every,
    Learner,
    LoopRecipe,
    Numbers,
    Stage,
    averaged,
    plain_stage,
    stored_step,
    train,
)
from sa3_training.optim import Ema, optimisers
from sa3_training.progress import Reporter, read_log
from sa3_training.world import World

ROOT = Path(__file__).resolve().parent.parent


class Tiny(nn.Module):
    """A regression whose batches depend on the draw alone; one layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.matrix = nn.Linear(4, 4)

    def loss(self, draw: Draw) -> tuple[Tensor, Numbers]:
        x = torch.randn(16, 4, generator=draw.generator())
        error = (self.matrix(self.frozen(x)) + x).square().mean()
        return error, {"error": float(error.detach())}


def stage_of(recipe: LoopRecipe, world: World | None = None) -> Stage:
    module = Tiny()
    learner = Learner(module, optimisers(module, 1e-2, 1e-2), Ema(module, 0.9))
    return plain_stage(learner, module.loss, recipe, world or World(), "tiny")


def weights(stage: Stage) -> dict[str, Tensor]:
    return stage.learners["tiny"].module.state_dict()


def test_a_resumed_run_ends_bit_for_bit_like_a_straight_one(tmp_path: Path) -> None:
    recipe = LoopRecipe(num_steps=12, num_parts=2)
    straight = stage_of(recipe)
    train(straight, recipe, tmp_path / "straight", "tiny", World())
    stopped = stage_of(recipe)
    stop = Every(1, lambda step: _interrupt() if step == 5 else {})
    position = train(stopped, recipe, tmp_path / "resumed", "tiny", World(), events=[stop])
    assert (position.step, position.is_done) == (5, False)
    resumed = stage_of(recipe)
    assert train(resumed, recipe, tmp_path / "resumed", "tiny", World()).is_done
    for key, tensor in weights(straight).items():
        assert torch.equal(tensor, weights(resumed)[key]), key
    one, two = (averaged(tmp_path / name / "tiny.ckpt", "tiny") for name in ("straight", "resumed"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def _interrupt() -> Numbers:
    os.kill(os.getpid(), signal.SIGINT)
    return {}


def test_a_checkpoint_leaves_out_what_is_frozen(tmp_path: Path) -> None:
    recipe = LoopRecipe(num_steps=1)
    train(stage_of(recipe), recipe, tmp_path, "tiny", World())
    saved = load_state(tmp_path / "tiny.ckpt")["learners"]["tiny"]["module"]
    assert set(saved) == {"matrix.weight", "matrix.bias"}
    assert stored_step(tmp_path / "tiny.ckpt") == 1


def test_minutes_end_a_run_before_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.01)
    monkeypatch.setattr("sa3_training.loop.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    recipe = LoopRecipe(num_steps=10**9, minutes=0.02, log_every_steps=5)
    with Reporter(tmp_path, "tiny") as report:
        position = train(stage_of(recipe), recipe, tmp_path, "tiny", World(), report)
    assert position.is_done and 20 < position.step < 200
    log = read_log(tmp_path / "tiny.log")
    assert log[-1]["progress"] == 1 and log[-1]["loss"] < log[0]["loss"]


def test_processes_whose_clocks_started_apart_save_at_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved_steps(late_seconds: float) -> list[int]:
        ticks = itertools.chain([-late_seconds], itertools.count(step=0.1))
        agreed = itertools.count(step=0.1)
        steps: list[int] = []

        def sum_numbers(world: World, numbers: Numbers) -> Numbers:
            return numbers | ({"seconds": next(agreed)} if "seconds" in numbers else {})

        monkeypatch.setattr("sa3_training.loop.time", SimpleNamespace(monotonic=lambda: next(ticks)))
        monkeypatch.setattr("sa3_training.loop.save", lambda stage, position, path, world: steps.append(position.step))
        monkeypatch.setattr(World, "sum_numbers", sum_numbers)
        recipe = LoopRecipe(num_steps=40, save_every_seconds=0.55)
        train(stage_of(recipe), recipe, tmp_path, "tiny", World())
        return steps

    assert saved_steps(0.0) == saved_steps(0.3)
    assert len(saved_steps(0.0)) > 3


def test_a_process_stops_when_another_was_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"asked": 0.0}

    def sum_numbers(world: World, numbers: Numbers) -> Numbers:
        return {key: value + other.get(key, 0.0) for key, value in numbers.items()}

    def ask(step: int) -> Numbers:
        other["asked"] = 1.0
        return {}

    monkeypatch.setattr(World, "sum_numbers", sum_numbers)
    recipe = LoopRecipe(num_steps=5)
    position = train(stage_of(recipe), recipe, tmp_path, "tiny", World(), events=[Every(2, ask)])
    assert (position.step, position.is_done) == (2, False)


def test_a_log_is_read_by_step_whatever_a_full_disk_cut_off(tmp_path: Path) -> None:
    lines = ['{"step": 10, "loss": 3.0}', '{"step": 20, "lo{"step": 15, "loss": 2.0}', '{"step": 30, "loss": 1.0}']
    (tmp_path / "dit.log").write_text("\n".join([*lines, '{"step": 25, "loss": 1.5}', '{"step"']))
    assert [entry["step"] for entry in read_log(tmp_path / "dit.log")] == [10, 25, 30]


def broken_at(steps: range) -> Stage:
    """The tiny regression with an error that is not a number at some steps."""
    recipe, module = LoopRecipe(num_steps=40), Tiny()

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        error, numbers = module.loss(draw)
        return error * (float("nan") if draw.step in steps else 1.0), numbers

    learner = Learner(module, optimisers(module, 1e-2, 1e-2), Ema(module, 0.9))
    return plain_stage(learner, loss, recipe, World(), "tiny")


def test_steps_that_are_not_finite_are_left_out_and_too_many_end_the_run(tmp_path: Path) -> None:
    recipe = LoopRecipe(num_steps=40, save_every_seconds=0.0)
    few = broken_at(range(3, 3 + MOST_LEFT_OUT - 1))
    assert train(few, recipe, tmp_path / "few", "tiny", World()).is_done
    assert all(bool(tensor.isfinite().all()) for tensor in weights(few).values())
    with pytest.raises(Diverged, match="steps in a row are not finite"):
        train(broken_at(range(5, 40)), recipe, tmp_path / "many", "tiny", World())
    kept = load_state(tmp_path / "many" / "tiny.ckpt")
    assert kept["step"] == 5 + MOST_LEFT_OUT - 1
    assert all(bool(tensor.isfinite().all()) for tensor in kept["learners"]["tiny"]["ema"].values())


def test_a_folder_with_a_run_of_another_recipe_is_refused_by_what_differs(tmp_path: Path) -> None:
    remember({"seeds": range(3), "steps": 5, "model": "a"}, tmp_path, "dit", ("steps",))
    remember({"seeds": range(3), "steps": 9, "model": "a"}, tmp_path, "dit", ("steps",))
    remember({"model": "b"}, tmp_path, "post", ())
    with pytest.raises(InvalidField, match="another seeds, model"):
        remember({"seeds": range(4), "steps": 9, "model": "b"}, tmp_path, "dit", ("steps",))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    recipe = LoopRecipe(num_steps=1)
    train(stage_of(recipe), recipe, tmp_path, "tiny", World())
    other = nn.Linear(2, 2)
    stage = plain_stage(Learner(other, optimisers(other, 1e-2, 1e-2)), Tiny().loss, recipe, World(), "tiny")
    with pytest.raises(ValueError, match="another model"):
        train(stage, recipe, tmp_path, "tiny", World())


SAVER = """
import sys, torch
from pathlib import Path
from sa3_training.checkpoints import save_state
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    save_state({"number": number, "tensor": torch.full((2_000_000,), float(number))}, path)
    print(number, flush=True)
"""


def test_a_kill_in_the_middle_of_a_save_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    part = tmp_path / "run.ckpt.part"
    killed_while_writing = 0
    for attempt in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, text=True, env=os.environ | _import_path()
        )
        assert process.stdout is not None
        saved = [int(process.stdout.readline()) for _ in range(2 + attempt)][-1]
        _wait_for(lambda: part.exists() and part.stat().st_size > 100_000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        saved = max([saved, *map(int, process.stdout.read().split())])
        process.stdout.close()
        killed_while_writing += part.exists()
        state = load_state(path)
        assert state["number"] >= saved
        assert torch.equal(state["tensor"], torch.full((2_000_000,), float(state["number"])))
    assert killed_while_writing, "no attempt was killed while it wrote"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def _import_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_a_full_disk_is_named_and_the_old_state_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    save_state({"number": 1}, path)

    def fill(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFull, match=r"run\.ckpt.*No space left.*MiB are free"):
        replace_file(path, fill)
    assert load_state(path) == {"number": 1}
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(DiskFull, match="the corpus needs about"):
        require_disk(tmp_path, 1 << 60, "the corpus")


WORKER = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from sa3_training.loop import LoopRecipe, train
from sa3_training.world import join_world, leave_world
from tests.test_training_loop import stage_of, weights
world = join_world("cpu")
recipe = LoopRecipe(num_steps=6, num_parts=2)
stage = stage_of(recipe, world)
train(stage, recipe, Path(sys.argv[1]), "tiny", world)
if world.is_first:
    print(json.dumps({key: tensor.double().flatten().tolist() for key, tensor in weights(stage).items()}))
leave_world(world)
"""


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    recipe = LoopRecipe(num_steps=6, num_parts=2)
    alone = stage_of(recipe)
    train(alone, recipe, tmp_path / "one", "tiny", World())
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--no-python", sys.executable, "-c", WORKER, str(tmp_path / "two"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | _import_path() | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout.splitlines()[-1])
    for key, tensor in weights(alone).items():
        assert together[key] == pytest.approx(tensor.double().flatten().tolist(), abs=1e-7), key


def test_parts_must_divide_among_the_processes() -> None:
    assert list(World(1, 2).parts(4)) == [1, 3]
    with pytest.raises(Exception, match="a multiple of the 2 processes"):
        World(0, 2).parts(3)


FILLER = """
import resource, signal, sys, torch
from pathlib import Path
from sa3_training.checkpoints import DiskFull, load_state, save_state
path = Path(sys.argv[1])
save_state({"number": 1}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    save_state({"number": 2, "tensor": torch.zeros(4_000_000)}, path)
except DiskFull as error:
    print(error)
print(load_state(path), sorted(other.name for other in path.parent.iterdir()))
"""


def test_a_real_refusal_of_the_system_to_write_more_keeps_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    command = [sys.executable, "-c", FILLER, str(path)]
    done = subprocess.run(command, env=os.environ | _import_path(), capture_output=True, text=True, check=True)
    assert "run.ckpt cannot be written" in done.stdout and "MiB are free" in done.stdout
    assert done.stdout.splitlines()[-1] == "{'number': 1} ['run.ckpt']"
