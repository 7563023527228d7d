"""Sampling one window: values stay on the device while the steps run, kept frames end on what is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sa3_daw.generation.denoise import Sampling, denoise
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.models.specs import SAMPLERS
from sa3_daw.sampling.guidance import Guidance

DIM, FRAMES, STEPS = 4, 10, 5


class ReadsBack(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what would make the program wait for a GPU: tensors' values taken as Python numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def towards_one(x_BDT: Tensor, t_B: Tensor) -> Tensor:
    """The velocity of a model whose data is 1 everywhere."""
    return (x_BDT - 1) / t_B[:, None, None]


def sampling(sampler: str, scale: float, start_t: float = 1.0) -> Sampling:
    return Sampling(sampler, STEPS, Guidance(scale), start_t)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_no_step_reads_a_value_back(sampler: str, scale: float) -> None:
    keep_T = torch.zeros(FRAMES)
    keep_T[:3] = 1
    known = torch.randn(2, DIM, FRAMES, generator=torch.Generator().manual_seed(0))
    steps = denoise(towards_one, torch.device("cpu"), sampling(sampler, scale), SeededNoise([1, 2]), keep_T, known)
    with ReadsBack() as reads:
        made = list(steps)[-1].x_BDT
    assert reads.count == 0
    wanted = torch.cat((known[..., :3], torch.ones(2, DIM, FRAMES - 3)), dim=-1)
    kept_or_all = FRAMES if scale == 1.0 else 3
    torch.testing.assert_close(made[..., :kept_or_all], wanted[..., :kept_or_all], atol=2e-3, rtol=2e-3)


def test_a_value_read_back_would_be_counted() -> None:
    with ReadsBack() as reads:
        bool(torch.ones(3).any())
    assert reads.count == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_model_is_told_no_noise_level_below_its_lowest(sampler: str) -> None:
    told: list[float] = []

    def heard(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        told.append(float(t_B.min()))
        return towards_one(x_BDT, t_B)

    asked = Sampling(sampler, STEPS, Guidance(1.0), 0.02, lowest_level=0.05)
    known = torch.zeros(1, DIM, FRAMES)
    made = list(denoise(heard, torch.device("cpu"), asked, SeededNoise([1]), torch.zeros(FRAMES), known))[-1].x_BDT
    assert min(told) == max(told) == pytest.approx(0.05)
    assert bool(made.isfinite().all())
