"""What training exports, the daemon loads; the command says what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.generation.model import load_model
from sa3_daw.models.specs import ModelSpec
from sa3_training.cli import main
from sa3_training.corpus.score import Score
from sa3_training.corpus.seeds import JUDGE_UNSEEN, REPORT
from sa3_training.corpus.sounds import SAMPLE_RATE, SOUND_FONT_VARIABLE
from sa3_training.evaluation import material
from sa3_training.evaluation import nano as nano_measures
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
        assert set(recipe.fit_seeds) <= set(recipe.clip_seeds)
        uses = [
            recipe.clip_seeds, recipe.long_seeds, recipe.solo_seeds, recipe.judge_teaching_seeds,
            recipe.held_out_seeds, JUDGE_UNSEEN, REPORT,
        ]  # fmt: skip
        assert len(set().union(*uses)) == sum(map(len, uses))


class Noting:
    """A synthesiser of clicks that notes which seeds it was asked for."""

    def __init__(self, *_: object) -> None:
        self.seeds: set[int] = set()

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        self.seeds.add(score.seed)
        return np.tile(np.eye(1, round(seconds * SAMPLE_RATE), dtype=np.float32), (2, 1))


def test_the_report_hears_only_clips_that_chose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    synthesiser = Noting()
    for module in (material, nano_measures):
        monkeypatch.setattr(module, "SECONDS", 0.5)
    material.clips_of_corpus(synthesiser)
    assert synthesiser.seeds == set(REPORT[: material.MOST_CLIPS])
    nano_measures.corpus(synthesiser)
    assert synthesiser.seeds == set(REPORT)


def test_the_distilled_nano_needs_neither_guidance_nor_euler() -> None:
    spec = ModelSpec.from_config(nano_config(SIZE, Sampled.DISTILLED), "nano")
    assert (spec.sampler, spec.default_steps, spec.default_guidance_scale) == ("pingpong", 8, 1.0)


def test_a_missing_sound_font_ends_the_command_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SOUND_FONT_VARIABLE, str(tmp_path / "none.sf3"))
    assert main(["nano", "--out", str(tmp_path / "out")]) == 1
    assert "apt-get install fluidr3mono-gm-soundfont" in capsys.readouterr().err
