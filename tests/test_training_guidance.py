"""A student learns its teacher's guided velocity, at the levels that sampling asks for."""

from __future__ import annotations

from pathlib import Path

import torch

from sa3_daw.sampling.schedule import LogSNRShift, t_grid
from sa3_training.loop import Draw, LoopRecipe
from sa3_training.stages.guidance import GuidanceRecipe, draw_sampled_levels, guidance_stage, guided_velocity
from sa3_training.world import World
from tests.test_training_stages import FRAMES, LATENT_DIM, assert_fall, denoiser, losses, waves


def uneven() -> torch.nn.Module:
    """A denoiser whose text matters: every zeroed layer is drawn at random."""
    model = denoiser()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.detach().any():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_a_scale_of_one_is_the_teacher_itself_and_three_is_not() -> None:
    teacher, batch = uneven(), waves(Draw(0, 0, 0))
    x, t = torch.randn(8, LATENT_DIM, FRAMES), torch.full((8,), 0.7)
    keep = torch.zeros(8, FRAMES)
    with torch.no_grad():
        own = teacher(x, t, batch, keep, torch.zeros(8, dtype=torch.bool))
    assert torch.allclose(guided_velocity(teacher, batch, keep, x, t, 1.0), own, atol=1e-4)
    assert (guided_velocity(teacher, batch, keep, x, t, 3.0) - own).abs().max() > 1e-2


def test_levels_are_those_of_the_sampler_with_more_of_the_last_ones() -> None:
    t = draw_sampled_levels(GuidanceRecipe(), 4000, FRAMES, torch.Generator().manual_seed(0))
    sampled = t_grid(8, LogSNRShift(), torch.tensor(float(FRAMES)))
    assert float(t.max()) > 0.99 and 0.1 < float(t.min()) <= float(sampled[-2])
    assert 0.35 < float((t < 0.35).float().mean()) < 0.5


def test_the_student_learns_it(tmp_path: Path) -> None:
    stage = guidance_stage(
        denoiser(),
        uneven(),
        waves,
        GuidanceRecipe(guided_above=0.2, muon_rate=2e-2, adam_rate=5e-3),
        LoopRecipe(25),
        World(),
    )
    assert_fall(losses(stage, tmp_path, 25, ("loss",)), least=0.05)
