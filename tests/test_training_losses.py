"""Every loss has its known value on a known signal; measures hear synthesised tones and clicks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sa3_daw.models.same import SoftNorm
from sa3_training import measures
from sa3_training.evaluation.reconstruction import (
    chroma_error,
    comb_db,
    level_error_db,
    mel_error,
    mr_stft,
    si_sdr_db,
    snr_db,
)
from sa3_training.lapped import fit, mdct, mdct_basis
from sa3_training.losses.adversarial import (
    Discriminators,
    discriminator_loss,
    feature_loss,
    generator_loss,
    mean_over,
)
from sa3_training.losses.alignment import Alignment, LatentListener, TextReader
from sa3_training.losses.bottleneck import add_latent_noise, divergence, encode_in_training, normal_penalty
from sa3_training.losses.contrastive import Critic, info_nce
from sa3_training.losses.flow_probe import FlowProbe, probe_loss
from sa3_training.losses.phase import delay_error, frequency_error, phase_loss
from sa3_training.losses.regressors import MOST_DB, Regressors, chroma, level_difference, regressor_loss
from sa3_training.losses.spectral import RESOLUTIONS, relative_l2, spectral_loss
from sa3_training.optim import orthogonalise, trapezoid
from sa3_training.spectra import k_weights, stft

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
    assert mr_stft(audio, audio) == 0
    assert float(spectral_loss(audio, audio)) == 0
    assert float(phase_loss(audio, audio)) == pytest.approx(0, abs=1e-6)
    assert mel_error(audio, audio) == 0
    assert float(relative_l2(audio, audio)) == 0


def test_snr_of_a_tenth_of_an_error_is_twenty_db() -> None:
    audio = noise(2 * 16384).view(1, 2, -1)
    assert snr_db(1.1 * audio, audio) == pytest.approx(20, abs=0.01)


def test_spectral_error_ignores_polarity_and_waveform_error_does_not() -> None:
    audio = noise(2 * 16384).view(1, 2, -1)
    assert float(spectral_loss(-audio, audio)) == pytest.approx(0, abs=1e-5)
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


def test_seven_resolutions_see_left_right_mid_and_side() -> None:
    assert len(RESOLUTIONS) == 7
    left_only = torch.stack((noise(16384), torch.zeros(16384)))[None]
    right_only = left_only.flip(1)
    assert float(spectral_loss(left_only, right_only)) > 1
    narrow = left_only.mean(1, keepdim=True).expand(-1, 2, -1)
    assert float(spectral_loss(narrow, left_only)) > 0.3


def test_k_weighting_has_the_gains_of_the_standard() -> None:
    gains = 20 * torch.log10(k_weights(48_000, 48_000))
    assert float(gains[997]) == pytest.approx(0.691, abs=0.02)
    assert float(gains[10_000]) == pytest.approx(4.0, abs=0.1)
    assert float(gains[20]) < -10


def test_phase_loss_hears_a_detuned_tone_and_a_late_click() -> None:
    seconds = torch.arange(8192) / RATE
    window, hop = 2048, 512
    tones = [stft(torch.sin(2 * math.pi * hertz * seconds)[None, None], window) for hertz in (1010.0, 1000.0)]
    assert float(frequency_error(*tones)) == pytest.approx(1 - math.cos(2 * math.pi * 10 * hop / RATE), rel=0.1)
    late = 100
    clicks_at = [torch.zeros(1, 1, 8192).index_fill(-1, torch.tensor([4096 + shift]), 1.0) for shift in (late, 0)]
    errors = float(delay_error(*(stft(click, window) for click in clicks_at)))
    assert errors == pytest.approx(1 - math.cos(2 * math.pi * late / window), rel=0.05)


def test_unrelated_noise_scores_what_overlapping_windows_leave_and_polarity_nothing() -> None:
    audio, other = noise(2 * 32768).view(1, 2, -1), noise(2 * 32768, seed=1).view(1, 2, -1)
    assert float(phase_loss(other, audio)) == pytest.approx(0.63, abs=0.03)
    assert float(phase_loss(-audio, audio)) == pytest.approx(0, abs=1e-5)


def test_relativistic_scores_of_equals_are_log_two() -> None:
    score = noise(10)
    assert float(discriminator_loss(score, score)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(score + 20, score)) == pytest.approx(0, abs=1e-6)
    assert float(generator_loss(score + 20, score)) == pytest.approx(20)
    assert float(feature_loss([score], [2 * score])) == pytest.approx(1)


def test_discriminators_learn_to_tell_tones_from_noise() -> None:
    torch.manual_seed(0)
    judges = Discriminators(width=4, windows=(512, 128))
    optimiser = torch.optim.AdamW(judges.parameters(), lr=2e-2)
    real = tone(440, 0.2).expand(2, 2, -1)
    losses = []
    for step in range(12):
        fake = 0.2 * noise(real.numel(), step).view_as(real)
        loss = mean_over(discriminator_loss, judges(real)[0], judges(fake)[0])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < 0.5 * losses[0]


def test_an_untrained_probe_scores_two_and_only_then_reaches_the_encoder() -> None:
    torch.manual_seed(0)
    probe = FlowProbe(latent_dim=8, width=32, depth=2)
    latents = noise(16 * 8 * 64).view(16, 8, 64).requires_grad_()
    followed = probe_loss(probe, latents, detach=True, generator=torch.Generator().manual_seed(1))
    assert float(followed.detach()) == pytest.approx(2, abs=0.1)
    torch.autograd.backward(followed)
    assert latents.grad is None
    torch.nn.init.normal_(probe.project_out.weight, std=0.1)
    torch.autograd.backward(probe_loss(probe, latents, detach=False, generator=torch.Generator().manual_seed(0)))
    assert latents.grad is not None and float(latents.grad.abs().sum()) > 0


def test_chroma_of_a_is_class_nine_and_twice_as_loud_is_six_db() -> None:
    a440 = tone(440.0, 1.0, partials=1)
    audio = torch.stack((2 * a440, a440))[None]
    found = chroma(audio, 4096, RATE)
    assert found.shape == (1, 12, RATE // 4096)
    assert float(found[0, 9].min()) > 0.98
    assert float(level_difference(audio, 4096).mean() * MOST_DB) == pytest.approx(6.02, abs=0.05)


def test_an_even_guess_of_the_pitch_class_scores_one() -> None:
    regressors = Regressors(8)
    for parameter in regressors.parameters():
        torch.nn.init.zeros_(parameter)
    audio = tone(440.0, 1.0).expand(1, 2, -1)[..., : 4096 * 10]
    assert float(regressor_loss(regressors, torch.zeros(1, 8, 10), audio, RATE).detach()) == pytest.approx(1, abs=1e-3)


def test_contrastive_loss_is_log_of_the_batch_when_nothing_can_be_told_apart() -> None:
    same = torch.nn.functional.normalize(torch.ones(6, 4), dim=1)
    assert float(info_nce(same, same)) == pytest.approx(math.log(6), abs=1e-5)
    apart = torch.eye(6)
    assert float(info_nce(apart, apart)) == pytest.approx(0, abs=1e-4)
    critic = Critic(8, 5, 3)
    frames = [noise(6 * dim * 10, dim).view(6, dim, 10) for dim in (8, 5, 3)]
    assert 0.5 < float(critic(*frames).detach()) < 6


def test_normal_latents_cost_nothing_and_wide_ones_their_divergence() -> None:
    normal = noise(4 * 16 * 20_000).view(4, 16, 20_000)
    assert float(divergence(normal, dim=2)) == pytest.approx(0, abs=1e-3)
    assert float(divergence(2 * normal, dim=2)) == pytest.approx(0.5 * (4 - 1 - math.log(4)), abs=0.01)
    assert float(divergence(normal + 1, dim=2)) == pytest.approx(0.5, abs=0.01)
    assert float(normal_penalty(2 * normal)) > float(divergence(2 * normal, dim=2))


def test_the_running_spread_moves_a_thousandth_of_the_way() -> None:
    bottleneck = SoftNorm(16)
    x = 3 * noise(4 * 16 * 5000).view(4, 16, 5000)
    latents, _ = encode_in_training(bottleneck, x)
    assert float(bottleneck.running_std) == pytest.approx(0.999 + 0.001 * 3, abs=1e-4)
    assert float(latents.std().detach()) == pytest.approx(3 / float(bottleneck.running_std), rel=0.01)
    noisy = add_latent_noise(latents, torch.Generator().manual_seed(0))
    assert float((noisy - latents).std().detach()) == pytest.approx(0.05, rel=0.02)


def test_distances_of_reconstructions_have_their_units() -> None:
    audio = torch.stack((tone(440.0), tone(440.0)))[None]
    assert si_sdr_db(0.5 * audio, audio) > 60
    assert level_error_db(audio * torch.tensor([2.0, 1.0])[:, None], audio) == pytest.approx(6.02, abs=0.05)
    assert chroma_error(audio, audio) == 0
    other = torch.stack((tone(466.16, partials=1), tone(466.16, partials=1)))[None]
    plain = torch.stack((tone(440.0, partials=1), tone(440.0, partials=1)))[None]
    assert chroma_error(other, plain) > 0.95


def test_alignment_is_one_minus_the_cosine_of_any_two_embedders() -> None:
    east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    latents, states, mask = torch.zeros(1, 4, 8), torch.zeros(1, 3, 5), torch.ones(1, 3, dtype=torch.bool)
    for text, expected in ((east, 0.0), (north, 1.0), (-east, 2.0)):
        pair = Alignment(lambda clip: east, lambda words, real, text=text: text, weight=1.0)
        assert float(pair.loss(latents, states, mask)) == expected
    reader = TextReader(5, 2)
    padded = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    short = torch.tensor([[True, True, False]])
    other = torch.where(short[..., None], padded, torch.ones(()))
    assert torch.equal(reader(padded, short), reader(other, short)), "padding was read"
    heard = LatentListener(4, 8, 2)(torch.randn(3, 4, 8)).detach()
    assert float(heard.norm(dim=1).sub(1).abs().max()) < 1e-5
