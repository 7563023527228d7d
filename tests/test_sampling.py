"""Properties of schedules, samplers and guidance beyond their golden values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from sa3_daw.models.specs import SAMPLERS
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import Step, dpmpp, euler, pingpong, rk4, sampler_steps
from sa3_daw.sampling.schedule import FluxShift, FullShift, LogSNRShift, NoShift, Shift, published_t_grid, t_grid

SHIFTS: list[Shift] = [LogSNRShift(), LogSNRShift(rate=1.0), FullShift(), FluxShift(3.0, 3.0), NoShift()]


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
@pytest.mark.parametrize("start_t", [1.0, 0.9, 0.55, 0.3, 0.05])
@pytest.mark.parametrize("frames", [64.0, 300.0, 4096.0])
def test_every_grid_falls_strictly_from_its_start_to_zero(shift: Shift, start_t: float, frames: float) -> None:
    grid = t_grid(8, shift, torch.tensor(frames), start_t)
    assert grid[0] == torch.tensor(start_t) and grid[-1] == 0
    assert bool((grid[1:] < grid[:-1]).all())


def test_the_published_audio_to_audio_grid_is_not_monotone_and_ours_is() -> None:
    frames = torch.tensor(1000.0)
    assert published_t_grid(8, LogSNRShift(), frames, 0.9)[1] > 0.9
    assert t_grid(8, LogSNRShift(), frames, 0.9)[1] < 0.9


def test_a_full_start_is_the_published_grid() -> None:
    frames = torch.tensor([[100.0], [2000.0]])
    for shift in SHIFTS:
        torch.testing.assert_close(
            t_grid(12, shift, frames).expand(2, -1), published_t_grid(12, shift, frames, 1.0).expand(2, -1)
        )


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="num_steps is 0"):
        t_grid(0, NoShift(), torch.tensor(1.0))


@pytest.mark.parametrize("sampler", [euler, rk4, dpmpp], ids=lambda sampler: sampler.__name__)
def test_a_perfect_model_is_solved_exactly(sampler: Callable[..., Iterator[Step]]) -> None:
    data, noise = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    *_, last = sampler(lambda x, t: noise - data, noise, t_grid(6, LogSNRShift(), torch.tensor(64.0)))
    torch.testing.assert_close(last.x_BDT, data, atol=1e-5, rtol=0)


def test_pingpong_draws_once_a_step_and_ends_on_the_estimate() -> None:
    data, noise = torch.randn(1, 3, 5), torch.randn(1, 3, 5)
    draws = []

    def draw() -> torch.Tensor:
        draws.append(torch.randn(1, 3, 5))
        return draws[-1]

    grid = t_grid(4, LogSNRShift(), torch.tensor(64.0))
    steps = list(pingpong(lambda x, t: (x - data) / t[:, None, None], noise, grid, draw))
    assert [step.index for step in steps] == [0, 1, 2, 3] and len(draws) == 4
    torch.testing.assert_close(steps[-1].x_BDT, data, atol=1e-5, rtol=0)


def test_one_item_alone_equals_the_same_item_in_a_batch() -> None:
    x = torch.randn(3, 4, 6)
    grid = t_grid(5, LogSNRShift(rate=1.0), torch.tensor([[50.0], [500.0], [4000.0]]))

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * (0.5 + t[:, None, None])

    *_, together = dpmpp(velocity, x, grid)
    for item in range(3):
        *_, alone = dpmpp(velocity, x[item : item + 1], grid[item])
        torch.testing.assert_close(alone.x_BDT[0], together.x_BDT[item])


def test_guidance_of_scale_one_is_the_conditional_prediction() -> None:
    x, v, u = torch.randn(3, 2, 4, 6).unbind(0)
    guided = guide(Guidance(scale=1.0), x, torch.tensor([0.3, 0.9]), v, u)
    torch.testing.assert_close(guided, v, atol=1e-5, rtol=0)


def test_full_projection_moves_only_across_the_prediction() -> None:
    x, v, u = torch.randn(3, 1, 4, 6).unbind(0)
    t = torch.tensor([0.7])
    clean, guided = x - 0.7 * v, x - 0.7 * guide(Guidance(scale=5.0), x, t, v, u)
    assert abs(float(((guided - clean) * clean).sum())) < 1e-3
    assert float((guided - clean).norm()) > 0.1


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_named_sampler_takes_the_asked_steps(name: str) -> None:
    x = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
    grid = t_grid(4, NoShift(), torch.tensor(1.0))
    steps = list(sampler_steps(name, lambda x, t: torch.tanh(x), x, grid, lambda: torch.zeros_like(x)))
    assert [step.index for step in steps] == [0, 1, 2, 3]
    direct = {"euler": euler, "rk4": rk4, "dpmpp": dpmpp}.get(name)
    if direct:
        torch.testing.assert_close(steps[-1].x_BDT, [*direct(lambda x, t: torch.tanh(x), x, grid)][-1].x_BDT)
