"""What training exports, the daemon loads; the command says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sa3_daw.generation.model import load_model
from sa3_daw.models.specs import ModelSpec
from sa3_training.cli import main
from sa3_training.corpus.sounds import SOUND_FONT_VARIABLE
from sa3_training.export import export
from sa3_training.flow.denoiser import Denoiser
from sa3_training.lapped import LappedTransform
from sa3_training.recipes import NANO_FRAME_SAMPLES, NANO_LATENT_DIM, Sampled, nano, nano_config, nano_on_gpu
from sa3_training.stages.decoder import closed_form

SIZE = nano().size
SPEC = ModelSpec.from_config(nano_config(SIZE), "nano")


def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser.new(SPEC.dit, SPEC.conditioning)


def test_an_exported_model_loads_strictly_and_keeps_its_weights(tmp_path: Path) -> None:
    weight = torch.randn(NANO_LATENT_DIM, 2, 2 * NANO_FRAME_SAMPLES, generator=torch.Generator().manual_seed(0))
    trained, same = denoiser(), closed_form(SPEC.same, LappedTransform(weight, weight / 100))
    folder = tmp_path / "work" / "nano"
    export(nano_config(SIZE), trained.state_dict(), same.state_dict(), folder)
    assert all(path.stat().st_size <= 15 * 2**20 for path in folder.iterdir())
    model = load_model(folder, "nano")
    assert model.spec == SPEC
    for key, tensor in trained.dit.state_dict().items():
        assert torch.allclose(model.dit.state_dict()[key], tensor, atol=1e-3), key
    audio = torch.randn(1, 2, 8192, generator=torch.Generator().manual_seed(1))
    latents = same.encode(audio)
    assert float((model.same.encode(audio) - latents).norm() / latents.norm()) < 1e-3


def test_recipe_seeds_are_disjoint_by_use() -> None:
    for recipe in (nano(), nano_on_gpu()):
        uses = [set(recipe.clip_seeds), set(recipe.long_seeds)]
        assert sum(map(len, uses)) == len(set.union(*uses))
        assert max(set.union(*uses)) < 100_000 <= min(recipe.held_out_seeds)


def test_the_distilled_nano_needs_neither_guidance_nor_euler() -> None:
    spec = ModelSpec.from_config(nano_config(SIZE, Sampled.DISTILLED), "nano")
    assert (spec.sampler, spec.default_steps, spec.default_guidance_scale) == ("pingpong", 8, 1.0)


def test_a_missing_sound_font_ends_the_command_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SOUND_FONT_VARIABLE, str(tmp_path / "none.sf3"))
    assert main(["nano", "--out", str(tmp_path / "out")]) == 1
    assert "apt-get install fluidr3mono-gm-soundfont" in capsys.readouterr().err
