"""Nano's decoder learns gains from pairs of latents and audio, and is stored in the published form."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec
from sa3_training import nano as nano_module
from sa3_training.corpus.score import Score, choose_parts
from sa3_training.corpus.sounds import SAMPLE_RATE
from sa3_training.data.corpus_pool import LEAD_FRAMES, Clips
from sa3_training.data.pairs import Pairs, finish, make_pairs, whole_clips, without_offset
from sa3_training.flow.denoiser import Denoiser
from sa3_training.lapped import LappedTransform, mdct_basis
from sa3_training.loop import LoopRecipe
from sa3_training.nano import decoder_pairs
from sa3_training.recipes import NANO_FRAME_SAMPLES, NANO_LATENT_DIM, NanoSize, nano, nano_config
from sa3_training.stages.decoder import (
    DecoderRecipe,
    closed_form,
    decoder_loss,
    decoder_stage,
    draw_crops,
    folded,
    start_decoder,
)
from sa3_training.world import World
from tests.test_training_stages import assert_fall, losses

SPEC = ModelSpec.from_config(nano_config(NanoSize(dit_width=64, dit_depth=1, decoder_depth=1)), "nano")
FRAMES = 12
RECIPE = DecoderRecipe(crop_frames=6, edge_frames=1, batch_size=1)


def same() -> Same:
    """An autoencoder whose latents are the lowest MDCT coefficients of either channel."""
    torch.manual_seed(0)
    basis = mdct_basis(NANO_FRAME_SAMPLES)[: NANO_LATENT_DIM // 2]
    weight = torch.zeros(NANO_LATENT_DIM, 2, 2 * NANO_FRAME_SAMPLES)
    weight[0::2, 0], weight[1::2, 1] = basis, basis
    return closed_form(SPEC.same, LappedTransform(weight, weight))


def tones() -> Pairs:
    """Clips whose audio is twice as loud as their latents say; the rough ones hiss."""
    made, generator = same(), torch.Generator().manual_seed(0)
    times = torch.arange(FRAMES * NANO_FRAME_SAMPLES) / SAMPLE_RATE
    audio = torch.stack([0.2 * torch.sin(2 * torch.pi * hertz * times).expand(2, -1) for hertz in (200, 300, 400)])
    clean = made.encode(audio / 2)
    rough = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    return Pairs((32767 * audio).to(torch.int16), clean.half(), rough.half())


def test_it_starts_as_the_closed_form_and_its_loss_falls(tmp_path: Path) -> None:
    pairs, learned = tones(), same()
    latents = pairs.clean[:1].float()
    carrier = learned.decoder.lapped(latents).detach()
    decoder = start_decoder(learned, pairs.clean.float().std((0, 2)) + 1e-3)
    torch.testing.assert_close(decoder(latents), carrier, rtol=0, atol=1e-5)
    recipe = replace(RECIPE, muon_rate=4e-3, adam_rate=3e-4, batch_size=2)
    stage = decoder_stage(decoder, [pairs], recipe, LoopRecipe(25), World())
    assert_fall(losses(stage, tmp_path, 25, ("loss",)), least=0.3)
    assert torch.equal(decoder.lapped.weight, same().decoder.lapped.weight), "the closed form stays"

    stored = same()
    stored.decoder.load_state_dict(folded(decoder.state_dict()))
    torch.testing.assert_close(stored.decoder(latents), decoder(latents), rtol=0, atol=1e-5)


def test_crops_are_latents_and_their_own_audio_either_way_up() -> None:
    pairs = tones()
    clean = replace(RECIPE, clean_share=1.0, batch_size=8)
    latents, audio = draw_crops([pairs], clean, random.Random(0))
    inner = slice(NANO_FRAME_SAMPLES, -NANO_FRAME_SAMPLES)
    assert torch.allclose(2 * same().decoder.lapped(latents)[..., inner], audio[..., inner], atol=2e-2)
    whole = pairs.audio[:, :, : audio.shape[-1]].float() / 32767
    assert latents.shape == (8, NANO_LATENT_DIM, 6) and audio.abs().max() <= whole.abs().max() + 1e-4


def test_the_loss_is_zero_for_equals_and_counts_hiss_in_silence_more() -> None:
    wanted = torch.zeros(1, 2, 8192)
    wanted[..., :4096] = 0.3 * torch.sin(torch.arange(4096) * 0.05)
    hiss = 0.02 * torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    assert float(decoder_loss(wanted, wanted, [512], RECIPE)) < 1e-4
    deaf = float(decoder_loss(wanted + hiss, wanted, [512], replace(RECIPE, silence=1.0)))
    assert float(decoder_loss(wanted + hiss, wanted, [512], RECIPE)) > 1.1 * deaf


class Ramp:
    """A synthesiser of one tone on a constant."""

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        return np.tile(0.2 + 0.1 * np.sin(2 * np.pi * 220 * times), (2, 1)).astype(np.float32)


def test_pairs_hold_the_clips_audio_without_its_offset_and_what_the_sampler_leaves() -> None:
    rows, generator = 3, torch.Generator().manual_seed(7)
    clips = Clips(
        torch.randn(rows, NANO_LATENT_DIM, FRAMES, generator=generator).half(),
        torch.zeros(rows, SPEC.conditioning.beat_grid_dim, FRAMES).half(),
        torch.zeros(1, 32, 384).half(), torch.ones(1, 32), torch.zeros(rows, 2, dtype=torch.long),
        NANO_FRAME_SAMPLES / SAMPLE_RATE,
    )  # fmt: skip
    untrained = Denoiser.new(SPEC.dit, SPEC.conditioning).eval()
    pairs = make_pairs(clips, range(rows), choose_parts, Ramp(), untrained, (0.5,))
    assert pairs.audio.shape == (rows, 2, FRAMES * NANO_FRAME_SAMPLES)
    audio = pairs.audio.float() / 32767
    assert float(audio.mean().abs()) < 1e-3 and 0.05 < float(audio.abs().max()) < 0.31
    loud = audio[0, 0].unfold(0, NANO_FRAME_SAMPLES, NANO_FRAME_SAMPLES).std(1)
    assert float(loud[:LEAD_FRAMES].max()) < 0.5 * float(loud[LEAD_FRAMES + 1 :].min())
    assert torch.equal(pairs.clean, clips.latents)
    assert pairs.clean.data_ptr() != clips.latents.data_ptr(), "a view is saved with its whole pool"
    # One that predicts no velocity leaves the noise where it was: half of data, half of noise.
    expected = clips.latents.float().square().mean() / 4 + 0.25
    torch.testing.assert_close(pairs.rough.float().square().mean(), expected, rtol=0.1, atol=0)
    batch = whole_clips(clips, torch.arange(rows))
    assert torch.equal(finish(untrained, batch, 0.0, generator), batch.latents_BDT)


def test_one_process_makes_the_pairs_and_all_others_and_later_runs_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, made = tones(), list[range]()

    def make(clips: None, seeds: range, *_: object) -> Pairs:
        made.append(seeds)
        return wanted

    monkeypatch.setattr(nano_module, "make_pairs", make)
    monkeypatch.setattr(nano_module, "loaded", lambda spec, student, world: None)
    monkeypatch.setattr(World, "wait", lambda world: None)
    recipe = replace(nano(), decoder_clips=5)
    pools = [(range(9), choose_parts, None), (range(20, 29), choose_parts, None)]

    def pairs(world: World) -> list[Pairs]:
        return decoder_pairs(recipe, SPEC, {}, pools, Ramp(), tmp_path / "pairs.pt", world, num_processes=1)

    found = [pairs(world) for world in (World(0, 2), World(1, 2), World())]
    assert made == [range(5), range(20, 25)]
    for group in found:
        assert all(torch.equal(pair.audio, wanted.audio) and torch.equal(pair.rough, wanted.rough) for pair in group)


def test_what_lies_below_hearing_is_taken_out_and_nothing_else() -> None:
    times = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = torch.sin(2 * torch.pi * 40 * times)
    assert torch.allclose(without_offset((tone + 0.5)[None], SAMPLE_RATE)[0], tone, atol=1e-4)
