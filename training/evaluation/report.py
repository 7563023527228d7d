"""The evaluation report in a straight line: measure a model, write one HTML page and its numbers. Knows no arguments.

Every number of generated audio stands beside what chance or real audio gives; what each measure means is told where it
is defined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.music.key import NAMES
from sa3_training.checkpoints import replace_file
from sa3_training.corpus.score import compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renderer
from sa3_training.data.describe import describe
from sa3_training.data.folder import Sound, scan
from sa3_training.data.latents import model_rate
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation.families import PROMPTS as FAMILY_PROMPTS
from sa3_training.evaluation.families import TEACHING_SEEDS, UNSEEN_SEEDS, learn, share_first, solo_clips
from sa3_training.evaluation.likeness import closest, distance, frechet
from sa3_training.evaluation.page import Page
from sa3_training.evaluation.probes import adapted, mean_by_level, predicted_decodes, repaint, seam_jump
from sa3_training.evaluation.reconstruction import (
    chroma_error,
    comb_db,
    level_error_db,
    mel_error,
    mr_stft,
    si_sdr_db,
    snr_db,
)
from sa3_training.evaluation.timing import Asked
from sa3_training.evaluation.timing import adherence as adherence_of
from sa3_training.lora.preview import generate
from sa3_training.lora.train import model_folder

SECONDS = 6.0
MOST_CLIPS = 12
SHOWN = 3
MOST_PROMPTS = 4
BPMS = (100.0, 120.0, 140.0, 90.0)
KEYS = tuple(f"{name} {mode}" for name in NAMES for mode in ("major", "minor"))
PROMPTS = ("house drums", "warm pad chords", "deep sub bass line", "saw lead melody")


@dataclass(frozen=True)
class ReportRecipe:
    """What is measured. ``data`` is real audio to reconstruct and compare with; without it, nano's corpus is."""

    model: str
    out: Path
    data: Path | None = None
    adapter: Path | None = None
    num_seeds: int = 8
    sound_font: Path | None = None


@dataclass(frozen=True)
class Real:
    """A real clip [2, S] at the model's rate, with the words it goes by and its tempo."""

    name: str
    audio_CS: Tensor
    prompt: str
    bpm: float


def write_report(recipe: ReportRecipe) -> Path:
    """Measure and write ``out`` (HTML) and ``out`` with .json; return the page's path."""
    directory, name = model_folder(recipe.model)
    model = load_model(directory, name)
    real = real_clips(recipe, model)
    title = f"{name}{f' with {recipe.adapter.stem}' if recipe.adapter else ''}"
    page = Page(f"Evaluation of {title}")
    with adapted(model, recipe.adapter):
        numbers: dict[str, Any] = {"model": title, "clock": clock(model, page)}
        if real:
            numbers["reconstruction"] = reconstruction(model, real, page)
            numbers["predicted"] = predicted(model, real, page)
            numbers["seams"] = seams(model, real, page)
        asked = generated(model, recipe, real, page)
        numbers["kept"] = kept(asked, model.spec.sample_rate, page)
        if real:
            numbers |= against_real([clip.audio_CS for clip in asked], real, model.spec.sample_rate, page)
        if recipe.sound_font is not None:
            numbers["families"] = prompt_adherence(model, recipe, page)
        if model.spec.conditioning.beat_grid_dim:
            numbers["adherence"] = adherence(model, recipe, page)
    text = page.text.encode()
    replace_file(recipe.out, lambda file: file.write(text) and None)
    plain = json.dumps(numbers, indent=1).encode()
    replace_file(recipe.out.with_suffix(".json"), lambda file: file.write(plain) and None)
    return recipe.out


def real_clips(recipe: ReportRecipe, model: LoadedModel) -> list[Real]:
    """Return up to MOST_CLIPS real clips of the folder, or of nano's corpus, or none."""
    rate = model.spec.sample_rate
    if recipe.data is not None:
        return [_from_file(source, recipe.data, rate) for source in scan(recipe.data).sources[:MOST_CLIPS]]
    if recipe.sound_font is not None and rate == SAMPLE_RATE:
        renderer = Renderer(recipe.sound_font)
        scores = [compose(seed, SECONDS) for seed in nano_measures.HELD_OUT[:MOST_CLIPS]]
        return [
            Real(
                f"corpus {s.seed}",
                torch.from_numpy(renderer.render(s, SECONDS)),
                f"{s.style} {' '.join(s.parts)}",
                s.bpm,
            )
            for s in scores
        ]
    return []


def _from_file(source: Sound, folder: Path, rate: int) -> Real:
    audio = model_rate(
        source.read(0, min(source.num_samples, int(SECONDS * source.sample_rate))), source.sample_rate, rate
    )
    _, caption, beats = describe(source, folder)
    return Real(source.name, torch.from_numpy(audio), caption, beats.bpm if beats else 120.0)


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


def generated(model: LoadedModel, recipe: ReportRecipe, real: Sequence[Real], page: Page) -> list[Asked]:
    """Generate every prompt with every seed; the real clips' own prompts where there are some."""
    own = list(dict.fromkeys((clip.prompt, clip.bpm) for clip in real))[:MOST_PROMPTS] if recipe.data else []
    page.section("Generated", "The first clip of each prompt, with the model's own steps and guidance.")
    made = []
    for seed in range(recipe.num_seeds):
        turned = BPMS[seed % len(BPMS) :] + BPMS[: seed % len(BPMS)]
        for prompt, bpm in own or zip(PROMPTS, turned, strict=True):
            audio = torch.from_numpy(generate(model, prompt, seed, bpm=bpm, seconds=SECONDS))
            made.append(Asked(audio, bpm, _key_in(prompt)))
            if seed == 0:
                page.clip(f"{prompt} ({bpm:g} BPM)", audio, model.spec.sample_rate)
    return made


def _key_in(prompt: str) -> str:
    """Return the key a prompt names, as keys are reported, or nothing."""
    return next((name for name in KEYS if name.lower() in prompt.lower()), "")


def kept(asked: Sequence[Asked], rate: int, page: Page) -> dict[str, float]:
    """Measure tempo and key of the generated clips against what was asked."""
    numbers = adherence_of(asked, rate)
    page.section(
        "Tempo and key",
        "Of the clips with a clear beat: the share whose measured tempo lies within 2 % of the asked one (or its half "
        "or double), beside the same for another clip's tempo; the offset of their onsets. Of the prompts that name a "
        "key: the share of clips in it.",
    )
    page.table(("what", "value"), [(key.replace("_", " "), value) for key, value in numbers.items()])
    return numbers


def prompt_adherence(model: LoadedModel, recipe: ReportRecipe, page: Page) -> dict[str, float]:
    """Ask for each instrument family and let a small classifier say what it hears."""
    assert recipe.sound_font is not None
    renderer = Renderer(recipe.sound_font)
    judge = learn(coded(model, solo_clips(renderer, TEACHING_SEEDS)))
    made = [
        (family, torch.from_numpy(generate(model, prompt, seed, bpm=BPMS[seed % len(BPMS)], seconds=SECONDS)))
        for family, prompts in FAMILY_PROMPTS.items()
        for prompt in prompts
        for seed in range(max(1, recipe.num_seeds // 2))
    ]
    numbers = {
        "right_family_first": share_first(judge, made),
        "of_unseen_corpus": share_first(judge, coded(model, solo_clips(renderer, UNSEEN_SEEDS))),
        "chance": 1 / len(judge.names),
    }
    for family in FAMILY_PROMPTS:
        numbers[family] = share_first(judge, [clip for clip in made if clip[0] == family])
    page.section("Prompt adherence", "Share of clips whose asked instrument family a small classifier ranks first.")
    page.table(("what", "share"), [(key.replace("_", " "), value) for key, value in numbers.items()])
    return numbers


@torch.inference_mode()
def coded(model: LoadedModel, clips: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """Return clips as the autoencoder passes them on: the classifier shall judge the DiT, not the codec."""
    return [(name, model.same.decode(model.same.encode(audio[None]))[0, :, : audio.shape[1]]) for name, audio in clips]


def against_real(made: Sequence[Tensor], real: Sequence[Real], rate: int, page: Page) -> dict[str, Any]:
    """Compare generated with real clips: style, Fréchet distance, repetition."""
    clips = [clip.audio_CS for clip in real]
    numbers: dict[str, Any] = {
        "style_distance": distance(made, clips, rate),
        "style_distance_of_real": distance(clips, clips, rate),
    }
    if len(clips) >= 4 and len(made) >= 2:
        numbers["frechet"] = frechet(made, clips, rate)
        numbers["frechet_of_halves"] = frechet(clips[::2], clips[1::2], rate)
    repeats = [closest(clip, clips, rate) for clip in made]
    highest = max(range(len(repeats)), key=lambda index: repeats[index][0])
    numbers["closest"] = repeats[highest][0]
    numbers["closest_name"] = real[repeats[highest][1]].name
    if len(clips) > 1:
        among = [closest(clip, [c for c in clips if c is not clip], rate)[0] for clip in clips]
        numbers["closest_among_real"] = max(among)
    page.section(
        "Against real audio",
        "Style distance: mean difference of log-mel statistics. Fréchet distance of the same features, beside that of "
        "two halves of the real clips. Closest: highest correlation of two seconds with any two seconds of the real "
        "audio; far above what real clips have among each other means that the model repeats them.",
    )
    page.table(("what", "value"), [(key.replace("_", " "), value) for key, value in numbers.items()])
    return numbers


def adherence(model: LoadedModel, recipe: ReportRecipe, page: Page) -> dict[str, Any]:
    """Measure tempo, brightness and pitch of nano's own prompts."""
    sampling = nano_measures.Sampling(model.spec.default_steps, model.spec.default_guidance_scale)
    numbers: dict[str, Any] = nano_measures.generated(model, sampling, range(recipe.num_seeds))
    if recipe.sound_font:
        renderer = Renderer(recipe.sound_font)
        numbers["corpus"] = nano_measures.corpus(renderer)
    page.section(
        "Adherence", "Tempo, brightness and pitch of nano's prompts beside chance and, if rendered, its corpus."
    )
    rows = [
        (f"{group}: {key.replace('_', ' ')}", value) for group, found in numbers.items() for key, value in found.items()
    ]
    page.table(("what", "value"), rows)
    return numbers
