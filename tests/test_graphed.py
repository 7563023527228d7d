"""CUDA graphs of the DiT: equal to plain calls for every shape and conditioning; a CPU runs their bookkeeping only."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from sa3_daw.generation.events import AudioChunk
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import Prepared
from sa3_daw.models.graphed import GraphedDiT, tensors_of
from sa3_daw.models.precision import PrecisionChoice
from tests.test_generation import NANO
from tests.test_precision import seeded_models, snr_db

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def prepared_inputs(graphed: GraphedDiT, seed: int, num_frames: int) -> tuple[torch.Tensor, Prepared]:
    draw, device = torch.Generator().manual_seed(seed), graphed.dit.device
    context, global_ = torch.randn(1, 9, 48, generator=draw), torch.randn(1, 48, generator=draw)
    local, x = torch.randn(1, 33, num_frames, generator=draw), torch.randn(1, 32, num_frames, generator=draw)
    return x.to(device), graphed.dit.prepare(Conditioning(context, global_, local))


@torch.inference_mode()
def test_a_copy_of_the_conditioning_holds_every_tensor_in_memory_of_its_own() -> None:
    graphed = GraphedDiT(seeded_models()[0])
    _, prepared = prepared_inputs(graphed, 1, 12)
    mine, given = tensors_of(deepcopy(prepared)), tensors_of(prepared)
    assert len(given) == 1 + 3 * graphed.dit.spec.depth
    for own, other in zip(mine, given, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


@torch.inference_mode()
def test_without_a_gpu_calls_are_plain() -> None:
    graphed = GraphedDiT(seeded_models()[0])
    x, prepared = prepared_inputs(graphed, 1, 12)
    t = torch.tensor([0.5])
    for _ in range(3):
        assert torch.equal(graphed(x, t, prepared), graphed.dit(x, t, prepared))


@needs_gpu
@torch.inference_mode()
def test_replayed_steps_equal_plain_ones_for_every_shape_and_conditioning() -> None:
    graphed = GraphedDiT(seeded_models()[0].to("cuda"))
    for seed in range(3):
        for num_frames in range(6, 30, 2):  # more shapes than graphs are kept
            x, prepared = prepared_inputs(graphed, seed, num_frames)
            for level in (0.9, 0.5, 0.2):
                t = torch.tensor([level], device="cuda")
                torch.testing.assert_close(graphed(x, t, prepared), graphed.dit(x, t, prepared))
    assert graphed.num_recorded > 0


@needs_gpu
@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 50.0), ("bf16", 20.0)])
def test_a_job_on_a_gpu_makes_what_the_cpu_makes_and_the_same_twice(precision: str, least_db: float) -> None:
    exact = audio_of(load_model(NANO, "nano"))
    on_gpu = load_model(NANO, "nano", choice=PrecisionChoice(precision, "cuda", compile=False, reason="a test"))
    made = [audio_of(on_gpu) for _ in range(3)]  # plain calls first, then replayed ones
    assert on_gpu.graphed.num_recorded > 0
    assert np.array_equal(made[1], made[2])
    assert snr_db(torch.from_numpy(exact), torch.from_numpy(made[2])) > least_db


def audio_of(model: LoadedModel) -> np.ndarray:
    job = Job(
        job_id="test", prompt="house drums and bass", num_samples=120_000, sample_rate=44_100, seed=1,
        tempo_map=(TempoPoint(0.0, 127.5),), steps=4,
    )  # fmt: skip
    return np.concatenate([event.samples for event in run(job, model) if isinstance(event, AudioChunk)], axis=1)
