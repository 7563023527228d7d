"""From a folder of audio to an audible difference in a running daemon, and back again without the pack."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.client import Client
from sa3_daw.config import ENGINE_COMMAND
from sa3_daw.generation.model import load_model
from sa3_daw.job import AdapterUse
from sa3_training.evaluation.likeness import distance, share_nearest
from sa3_training.lora.train import PackRecipe, train_pack
from sa3_training.world import World
from tests.running_daemon import RunningDaemon, a_job, data_dir
from tests.test_training_data import RATE, write

SEEDS = range(2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("style")
    for index in range(4):
        write(folder / f"dark drone {index}.wav", drone(3.0, index), subtype="PCM_16")
    return folder


def drone(seconds: float, seed: int) -> np.ndarray:
    """A steady low chord of overtones, which nano never plays by itself."""
    times = np.arange(int(seconds * RATE)) / RATE
    starts = np.random.default_rng(seed).uniform(0, 6.28, 8)
    parts = [np.sin(2 * np.pi * 110 * (k + 1) * times + starts[k]) / (k + 1) for k in range(8)]
    return np.repeat((0.12 * np.sum(parts, axis=0))[:, None], 2, axis=1).astype(np.float32)


def clips(client: Client, prefix: str, adapters: tuple[AdapterUse, ...]) -> list[Tensor]:
    made = []
    for seed in SEEDS:
        job = replace(
            a_job("drone", num_samples=3 * RATE),
            job_id=f"{prefix}{seed}",
            sample_rate=RATE,
            seed=seed,
            adapters=adapters,
        )
        made.append(torch.from_numpy(client.generate(job).samples.copy()))
    return made


def test_a_pack_trained_in_seconds_is_heard_in_a_running_daemon(folder: Path, tmp_path: Path) -> None:
    recipe = PackRecipe(
        data=folder, out=tmp_path / "pack", name="drone", trigger="drone", num_steps=30, batch_size=4,
        crop_seconds=2.0, learning_rate=8e-3, preview_every=0,
    )  # fmt: skip
    runtime = tmp_path / "run"
    with RunningDaemon(runtime, SA3_ENGINE_COMMAND=shlex.join(ENGINE_COMMAND)) as daemon, daemon.client() as client:
        before = clips(client, "before", ())
        pack = train_pack(recipe, World())
        adapters = data_dir(runtime) / "adapters"
        adapters.mkdir(parents=True, exist_ok=True)
        shutil.copy(pack, adapters)
        assert "drone" in {adapter.name for adapter in client.hello().adapters}
        with_pack = clips(client, "with", (AdapterUse("drone"),))
        after = clips(client, "after", ())
    same = load_model(EMBEDDED / "nano", "nano").same
    with torch.inference_mode():
        style = [same.decode(same.encode(torch.from_numpy(drone(3.0, seed).T.copy())[None]))[0] for seed in (8, 9)]
    assert distance(with_pack, style, RATE) < 0.75 * distance(before, style, RATE)
    assert share_nearest(with_pack, style, before, RATE) == 1
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True)), "the pack left a trace"
