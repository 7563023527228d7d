"""Sections of the report on the autoencoder and what it does to real audio; each measures, writes and returns numbers.

Knows no files and no arguments. Shapes: B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean

import torch
from torch import Tensor

from sa3_daw.generation.model import LoadedModel
from sa3_daw.models.same import Same
from sa3_training.evaluation.material import Real
from sa3_training.evaluation.page import Page
from sa3_training.evaluation.probes import mean_by_level, predicted_decodes, repaint, seam_jump
from sa3_training.evaluation.reconstruction import (
    chroma_error,
    comb_db,
    level_error_db,
    mel_error,
    mr_stft,
    si_sdr_db,
    snr_db,
)

SHOWN = 3


def clock(model: LoadedModel, page: Page) -> dict[str, float]:
    """Tell how many numbers a second of audio is made of."""
    spec = model.spec
    frames = spec.sample_rate / spec.samples_per_frame
    numbers = {
        "frames_per_second": frames,
        "channels": float(spec.dit.latent_dim),
        "numbers_per_second": frames * spec.dit.latent_dim,
        "dit_parameters": float(sum(p.numel() for p in model.dit.parameters())),
        "autoencoder_parameters": float(sum(p.numel() for p in model.same.parameters())),
        "default_steps": float(spec.default_steps),
        "default_guidance": spec.default_guidance_scale,
    }
    page.section("Model", "How many latent numbers a second of audio is made of, and how large the parts are.")
    page.table(("what", "value"), [(key.replace("_", " "), value) for key, value in numbers.items()])
    return numbers


@torch.inference_mode()
def reconstruction(model: LoadedModel, real: Sequence[Real], page: Page) -> dict[str, float]:
    """Encode and decode real clips, and measure what is lost."""
    rows, shown = [], []
    for clip in real:
        audio = clip.audio_CS[None]
        decoded = model.same.decode(model.same.encode(audio))[..., : audio.shape[-1]]
        rows.append(_distances(decoded, audio, model.spec.same.patch_samples))
        shown.append((clip, decoded[0]))
    names = list(rows[0])
    means = {name: fmean(row[name] for row in rows) for name in names}
    page.section(
        "Reconstruction", "Real audio through the autoencoder and back; every generated clip has at least this loss."
    )
    table: list[list[str | float]] = [[clip.name, *row.values()] for clip, row in zip(real, rows, strict=True)]
    page.table(("clip", *(name.replace("_", " ") for name in names)), [*table, ["mean", *means.values()]])
    for clip, decoded in shown[:SHOWN]:
        page.clip(f"{clip.name}: original", clip.audio_CS, model.spec.sample_rate)
        page.clip(f"{clip.name}: reconstructed", decoded, model.spec.sample_rate)
    return means


def _distances(decoded_BCS: Tensor, audio_BCS: Tensor, patch_samples: int) -> dict[str, float]:
    return {
        "mr_stft": mr_stft(decoded_BCS, audio_BCS),
        "mel": mel_error(decoded_BCS, audio_BCS),
        "si_sdr_db": si_sdr_db(decoded_BCS, audio_BCS),
        "snr_db": snr_db(decoded_BCS, audio_BCS),
        "level_difference_db": level_error_db(decoded_BCS, audio_BCS),
        "chroma": chroma_error(decoded_BCS, audio_BCS),
        "comb_db": comb_db(decoded_BCS[0], patch_samples),
        "comb_of_original_db": comb_db(audio_BCS[0], patch_samples),
    }


@torch.inference_mode()
def cross_decode(models: dict[str, LoadedModel], real: Sequence[Real], page: Page) -> dict[str, dict[str, float]]:
    """Decode what each model's encoder says with each model's decoder; return SI-SDR and mel of every pair.

    Only for autoencoders whose latents have the same shape; whether they mean the same is what is measured.
    """
    page.section(
        "Cross-decode",
        "Latents of one autoencoder decoded by the other; off the diagonal, how far they share a language.",
    )
    numbers: dict[str, dict[str, float]] = {}
    for source, encoder in models.items():
        latents = [encoder.same.encode(clip.audio_CS[None]) for clip in real]
        for target, decoder in models.items():
            decoded = [_cut(decoder.same, latent, clip) for latent, clip in zip(latents, real, strict=True)]
            pairs = [(made, clip.audio_CS[None]) for made, clip in zip(decoded, real, strict=True)]
            numbers[f"{source} -> {target}"] = {
                "si_sdr_db": fmean(si_sdr_db(*pair) for pair in pairs),
                "mel": fmean(mel_error(*pair) for pair in pairs),
            }
            page.clip(f"{real[0].name}: {source} -> {target}", decoded[0][0], decoder.spec.sample_rate)
    page.table(
        ("encoder -> decoder", "SI-SDR dB", "mel"),
        [(pair, found["si_sdr_db"], found["mel"]) for pair, found in numbers.items()],
    )
    return numbers


def share_latents_shape(models: Sequence[LoadedModel]) -> bool:
    """Say whether the models' latents have one shape, so that each decoder can read the other's."""
    return len({(m.spec.dit.latent_dim, m.spec.samples_per_frame, m.spec.sample_rate) for m in models}) == 1


def _cut(same: Same, latents_BDT: Tensor, clip: Real) -> Tensor:
    decoded: Tensor = same.decode(latents_BDT)
    return decoded[..., : clip.audio_CS.shape[-1]]


def predicted(model: LoadedModel, real: Sequence[Real], page: Page) -> list[dict[str, float]]:
    """Decode what the DiT predicts of noised latents, beside random errors of the same size."""
    found = mean_by_level([predicted_decodes(model, clip.audio_CS, clip.prompt, clip.bpm) for clip in real])
    page.section(
        "Predicted latents",
        "Real latents, noised to a level and predicted back in one step, then decoded: mel error against the decode of "
        "the real ones. The random column has errors of the same size in random directions: when it is lower, the DiT "
        "errs where the decoder minds.",
    )
    page.table(
        ("noise level", "mel error of the prediction", "of a random error as large", "ratio"),
        [(p.level, p.predicted_mel, p.random_mel, p.predicted_mel / max(p.random_mel, 1e-9)) for p in found],
    )
    return [asdict(p) for p in found]


def seams(model: LoadedModel, real: Sequence[Real], page: Page) -> dict[str, float]:
    """Repaint the middle of real clips in the latents and listen at the seams."""
    jumps, plain = [], []
    page.section(
        "Repaint seams",
        "The middle third is made anew; spectral change at the two seams over the strongest 5 % of changes elsewhere. "
        "Below 1 the seam hides among the music's own changes; the same places in the original are beside it.",
    )
    for number, clip in enumerate(real):
        audio, places = repaint(model, clip.audio_CS, clip.prompt, clip.bpm, number)
        jumps.append(seam_jump(audio, places, model.spec.sample_rate))
        plain.append(seam_jump(clip.audio_CS, places, model.spec.sample_rate))
        if number < SHOWN:
            page.clip(f"{clip.name}: repainted", audio, model.spec.sample_rate)
    numbers = {"repainted": fmean(jumps), "original": fmean(plain)}
    page.table(("what", "seam"), list(numbers.items()))
    return numbers
