"""Cases of the schedules and samplers families. Knows no neural network."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.sampling.samplers import sampler_steps
from sa3_daw.sampling.schedule import FluxShift, FullShift, LogSNRShift, NoShift, Shift, published_t_grid

SHIFTS: dict[str, Shift] = {
    "none": NoShift(),
    "identity": NoShift(),
    "logsnr_default": LogSNRShift(),
    "logsnr_rate1": LogSNRShift(rate=1.0),
    "full": FullShift(),
    "full_sine": FullShift(sine=True),
    "flux_const3": FluxShift(min_alpha=3.0, max_alpha=3.0),
    "flux_var": FluxShift(min_alpha=1.0, max_alpha=6.93),
}
GRID = re.compile(
    r"(fallback_len\.)?(?P<shift>\w+)\.steps(?P<steps>\d+)(\.smax(?P<start>[\d.]+))?\.(len(?P<frames>\d+)|perelem)"
)
RAW = re.compile(r"(?P<shift>\w+)\.raw_shift_t(?P<points>\d+)_len(?P<frames>\d+)")
PER_ITEM_FRAMES = (1.0, 300.0, 2000.0)


def schedule_cases(fixture: Fixture) -> Iterator[Case]:
    """Compare every grid, those that the original makes non-monotone included."""
    for key in fixture.keys(""):
        if grid := GRID.fullmatch(key):
            frames = torch.tensor(float(grid["frames"])) if grid["frames"] else torch.tensor(PER_ITEM_FRAMES)[:, None]
            shift = SHIFTS[grid["shift"]]
            yield Case.compare(
                key, published_t_grid(int(grid["steps"]), shift, frames, float(grid["start"] or 1)), fixture[key]
            )
        elif raw := RAW.fullmatch(key):
            tau = torch.linspace(0, 1, int(raw["points"]))
            yield Case.compare(key, SHIFTS[raw["shift"]](tau, torch.tensor(float(raw["frames"]))), fixture[key])


def sampler_cases(fixture: Fixture) -> Iterator[Case]:
    """Run every sampler on the analytic model v = A tanh(x) (0.5 + t) + b cos(3t) + 0.4 x."""
    matrix, offset = fixture["A"], fixture["b"]

    def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        t = t_B[:, None, None]
        return torch.einsum("ij,bjt->bit", matrix, torch.tanh(x_BDT)) * (0.5 + t) + (
            offset[:, None] * torch.cos(3 * t) + 0.4 * x_BDT
        )

    start = fixture["x0"]
    for key in fixture.keys(suffix=".out"):
        sampler, grid_name = key.removesuffix(".out").split(".", 1)
        grid = fixture[f"sched.{grid_name}"]
        draws = iter(fixture[f"pingpong.{grid_name}.noise"] if sampler == "pingpong" else ())
        steps = list(sampler_steps(sampler, velocity, start, grid, draws.__next__))
        yield Case.compare(key, steps[-1].x_BDT, fixture[key])
        stem = f"{sampler}.{grid_name}"
        if f"{stem}.trace_denoised" in fixture:
            denoised = torch.stack([step.denoised_BDT for step in steps])
            yield Case.compare(f"{stem}.trace_denoised", denoised, fixture[f"{stem}.trace_denoised"])
    for key in fixture.keys(""):
        if key == "init" or key.endswith(".trace_x"):
            _ = fixture[key]
