"""Losses vanish where they should, measures hear synthesised tones and clicks, optimisers and loop do their part."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sa3_training import loop, measures
from sa3_training.lapped import fit, mdct, mdct_basis
from sa3_training.loop import LoopRecipe, Run, step_generator
from sa3_training.losses import comb_db, mel_error, mr_stft, relative_l2, snr_db
from sa3_training.optim import Ema, optimisers, orthogonalise, trapezoid
from sa3_training.train_dit import keep_masks

RATE = 44100


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, seconds: float = 2.0, partials: int = 5) -> Tensor:
    times = torch.arange(int(seconds * RATE)) / RATE
    parts = [torch.sin(2 * math.pi * hertz * k * times) / k for k in range(1, partials + 1)]
    return 0.2 * torch.stack(parts).sum(0)


def clicks(bpm: float, seconds: float = 6.0) -> Tensor:
    """Bursts of noise on every eighth note."""
    audio = torch.zeros(int(seconds * RATE))
    for index in range(int(seconds * bpm / 30)):
        audio[int(index * 30 / bpm * RATE) :][:300] = noise(300, index)[: len(audio) - int(index * 30 / bpm * RATE)]
    return audio


def test_losses_of_equal_audio_are_zero() -> None:
    audio = noise(2 * 2 * 16384).view(2, 2, -1)
    assert float(mr_stft(audio, audio)) == 0
    assert mel_error(audio, audio) == 0
    assert float(relative_l2(audio, audio)) == 0


def test_snr_of_a_tenth_of_an_error_is_twenty_db() -> None:
    audio = noise(2 * 16384).view(1, 2, -1)
    assert snr_db(1.1 * audio, audio) == pytest.approx(20, abs=0.01)


def test_spectral_error_ignores_polarity_and_waveform_error_does_not() -> None:
    audio = noise(2 * 16384).view(1, 2, -1)
    assert float(mr_stft(-audio, audio)) == pytest.approx(0, abs=1e-5)
    assert float(relative_l2(-audio, audio)) == pytest.approx(4)


def test_a_repeated_patch_shows_as_a_comb() -> None:
    plain = noise(2 * 20 * 4096).view(2, -1) * 0.1
    template = torch.tile(noise(256, 1), (plain.shape[1] // 256,)) * 0.03
    assert abs(comb_db(plain, 256)) < 1
    assert comb_db(plain + template, 256) > 6


def test_mdct_reconstructs_perfectly() -> None:
    basis = mdct_basis(64)
    audio = noise(2 * 64 * 20).view(2, -1)
    frames = mdct(audio, basis).view(20, 2, 64).permute(1, 2, 0)
    back = torch.nn.functional.conv_transpose1d(frames, basis[:, None], stride=64, padding=32)[:, 0]
    assert torch.allclose(back[:, 64:-64], audio[:, 64:-64], atol=1e-4)


def test_more_components_reconstruct_better_and_latents_have_unit_mean_square() -> None:
    clips = [torch.stack((tone(110 * 2 ** (k / 12)), tone(220 * 2 ** (k / 12)))) for k in range(6)]
    clips = [clip[:, : 256 * 300] for clip in clips]
    errors = []
    for dim in (8, 24):
        transform = fit(clips, 256, dim, whitening=0.5)
        latents = torch.nn.functional.conv1d(torch.stack(clips), transform.analysis, stride=256, padding=128)
        back = torch.nn.functional.conv_transpose1d(latents, transform.synthesis, stride=256, padding=128)
        errors.append(snr_db(back[..., 512:-512], torch.stack(clips)[..., 512:-512]))
        assert float(latents.square().mean()) == pytest.approx(1, abs=0.05)
    assert errors[1] > errors[0] + 6


def test_beat_score_finds_the_tempo() -> None:
    audio = clicks(127.5)
    assert measures.beat_score(audio, 127.5) > 0.9
    assert abs(measures.beat_score(audio, 101.3)) < 0.15
    assert abs(measures.beat_score(noise(6 * RATE), 127.5)) < 0.1


def test_pitch_of_a_tone_is_found_and_noise_has_none() -> None:
    for hertz in (87.31, 110.0, 261.63):
        found, share = measures.pitches_hertz(tone(hertz))
        assert share > 0.95
        assert float(found.median()) == pytest.approx(hertz, rel=2e-3)
    assert measures.pitches_hertz(noise(2 * RATE))[1] < 0.05


def test_in_tune_means_within_thirty_cents_of_a_class() -> None:
    found = torch.tensor([110.0, 220.0, 110 * 2 ** (0.25 / 12), 110 * 2 ** (0.4 / 12), 116.54])
    assert measures.share_in_tune(found, (9,)) == pytest.approx(3 / 5)
    spread = 55 * 2 ** (torch.arange(1200) / 400)
    assert measures.share_in_tune(spread, (9, 5, 0, 7)) == pytest.approx(0.2, abs=0.03)
    assert measures.spectral_share_in_tune(tone(440.0, partials=2), (9,)) > 0.95


def test_brightness_orders_tones() -> None:
    assert (
        measures.centroid_hertz(tone(110)) < measures.centroid_hertz(tone(880)) < measures.centroid_hertz(noise(RATE))
    )


def test_orthogonalised_matrices_have_even_singular_values() -> None:
    for shape in ((32, 64), (64, 32)):
        matrix = noise(32 * 64).view(shape)
        values = torch.linalg.svdvals(orthogonalise(matrix))
        assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_learning_rate_rises_stays_and_falls() -> None:
    assert [trapezoid(p) for p in (0.0, 0.01, 0.3, 0.8, 1.0)] == pytest.approx([0.02, 0.5, 1.0, 0.5, 0.02])


def test_inpaint_masks_are_mostly_empty_and_sometimes_partial() -> None:
    keep = keep_masks(2000, 50, torch.Generator().manual_seed(0))
    kept = keep.mean(1)
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    assert 0.75 < float((kept == 0).float().mean()) < 0.87
    assert float(((kept > 0) & (kept < 1)).float().mean()) > 0.1


class Tiny(nn.Module):
    """A regression whose batches depend on the step alone."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(4, 4)
        nn.init.eye_(self.matrix.weight)

    def loss_of_step(self, step: int) -> Tensor:
        x = torch.randn(16, 4, generator=step_generator(0, step))
        return (self.matrix(x) + x).square().mean()


def test_a_resumed_run_continues_exactly(tmp_path: Path) -> None:
    def fresh() -> Run:
        module = Tiny()
        nn.init.zeros_(module.matrix.bias)
        return Run(module, Ema(module, 0.9), optimisers(module, 1e-2, 1e-2))

    def advance(run: Run, steps: int) -> None:
        assert isinstance(run.module, Tiny)
        for _ in range(steps):
            loop.descend(run, run.module.loss_of_step(run.step), 1.0)
            run.step += 1

    straight, first, second = fresh(), fresh(), fresh()
    advance(straight, 12)
    advance(first, 5)
    first.save(tmp_path / "run.ckpt")
    second.load(tmp_path / "run.ckpt")
    advance(second, 7)
    assert second.step == straight.step
    for key, tensor in straight.module.state_dict().items():
        assert torch.equal(tensor, second.module.state_dict()[key])
        assert torch.equal(straight.ema.state[key], second.ema.state[key])


def test_training_stops_in_time_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    module = Tiny()
    recipe = LoopRecipe(minutes=0.01, muon_lr=2e-2, adam_lr=1e-2, ema=0.9, seed=0)
    loop.train(module, module.loss_of_step, recipe, tmp_path, "tiny")
    lines = (tmp_path / "tiny.log").read_text().splitlines()
    assert len(lines) > 1
    assert set(loop.averaged(tmp_path / "tiny.ckpt")) == {"matrix.weight", "matrix.bias"}
    assert float(module.loss_of_step(-1).detach()) < 4
