"""Sections of the report on generated clips; each measures, writes and returns numbers. Knows no files, no arguments.

Every number stands beside what chance, the real audio or the corpus gives. A section whose judge is not installed says
so by name, and the report goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sa3_daw.generation.model import LoadedModel
from sa3_training.corpus.seeds import JUDGE_TEACHING, JUDGE_UNSEEN
from sa3_training.corpus.sounds import Renders
from sa3_training.evaluation import musicnn, notes, timing, words
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation.families import PROMPTS as FAMILY_PROMPTS
from sa3_training.evaluation.families import learn, share_first, solo_clips
from sa3_training.evaluation.likeness import closest, distance_of, frechet_of, likeness, rows, stretches
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.material import Asked
from sa3_training.evaluation.page import Page
from sa3_training.evaluation.probes import seam_jump
from sa3_training.evaluation.reference import Reference
from sa3_training.lora.preview import generate

LONG_SECONDS = 10.0


def judged(title: str, page: Page, section: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return a section's numbers; where its judge is not installed, say which and return nothing."""
    try:
        return section()
    except ModuleNotFoundError as error:
        page.section(title, f"Left out: {error}.")
        return {}


def speed(model: LoadedModel, page: Page) -> dict[str, float]:
    """Time one clip of ten seconds with the model's own steps, after one that warms up."""
    generate(model, "drums", 0, seconds=LONG_SECONDS)
    started = time.perf_counter()
    generate(model, "drums", 1, seconds=LONG_SECONDS)
    seconds = time.perf_counter() - started
    numbers = {"seconds_for_ten_seconds": seconds, "threads": float(torch.get_num_threads())}
    page.section("Speed", "Time to generate ten seconds of audio, with this many threads, on this machine as it was.")
    page.table(("what", "value"), _rows(numbers))
    return numbers


def players(asked: Sequence[Asked], rate: int, page: Page) -> None:
    """Show the first clip of every prompt."""
    page.section("Generated", "The first clip of each prompt, with the model's own steps and guidance.")
    for clip in {clip.prompt: clip for clip in reversed(asked)}.values():
        page.clip(f"{clip.prompt} ({clip.bpm:g} BPM)", clip.audio_CS, rate)


def kept(asked: Sequence[Asked], rate: int, page: Page) -> dict[str, float]:
    """Measure tempo and key of the generated clips against what was asked, and how cleanly they begin and end."""
    numbers = timing.adherence(asked, rate)
    numbers["change_at_the_ends"] = fmean(seam_jump(c.audio_CS, (0, c.audio_CS.shape[-1]), rate) for c in asked)
    page.section(
        "Tempo, key and ends",
        "Of the clips with a clear beat: the share whose measured tempo lies within 2 % of the asked one (or its half "
        "or double), beside the same for another clip's tempo; the offset of their onsets. Of all clips of drum "
        "prompts: the share with a clear beat within 2 % of the asked tempo. Of the prompts that name a key: "
        "the share heard in it, by the estimate that every take is reported with. Change at the ends: as at seams, "
        "below 1 is clean.",
    )
    page.table(("what", "value"), _rows(numbers))
    return numbers


def solo_notes(asked: Sequence[Asked], rate: int, page: Page) -> dict[str, float]:
    """Find notes in the clips that ask for one pitched instrument."""
    numbers = notes.adherence([clip for clip in asked if clip.family and clip.key], rate)
    page.section(
        "Notes of solo prompts",
        "By basic-pitch. Stable: notes held for 0.1 s fill half of the sounding time. In the asked key: no other "
        "transposition of its scale holds more of the notes; beside it, the same for the eleven other keys.",
    )
    page.table(("what", "share"), _rows(numbers))
    return numbers


def obedience(asked: Sequence[Asked], own: Sequence[Asked], reference: Reference, page: Page) -> dict[str, Any]:
    """Let musicnn hear the clips: do tags follow the words of the prompts, and how far are they from real ones?"""
    rate, real = reference.rate, reference.real
    heard = [musicnn.hear(clip.audio_CS, rate) for clip in asked]
    numbers: dict[str, Any] = {"asked": words.obedience([clip.prompt for clip in asked], heard)}
    if real:
        numbers["real"] = words.obedience([clip.prompt for clip in real], reference.heard)
        if len(real) >= 4:
            numbers |= words.embedding_distance([musicnn.hear(clip.audio_CS, rate) for clip in own], reference.heard)
    page.section(
        "Prompt adherence by musicnn",
        "A tagger that never saw our sounds. For each tag that some prompts ask for: how often a clip asked for it has "
        "the higher probability than one that was not; 0.5 is chance; beside it, real clips with their captions. "
        "Fréchet distance of its embeddings, between clips of the real captions and the real clips.",
    )
    page.table(
        ("tag", "generated", "real"),
        [
            (tag.replace("_", " "), numbers["asked"][tag], numbers.get("real", {}).get(tag, ""))
            for tag in numbers["asked"]
        ],
    )
    page.table(("what", "value"), _rows({key: value for key, value in numbers.items() if isinstance(value, float)}))
    return numbers


def families(asked: Sequence[Asked], model: LoadedModel, renderer: Renders, page: Page) -> dict[str, float]:
    """Let a small classifier, taught by nano's corpus as the codec passes it on, say which family it hears."""
    judge = learn(coded(model, solo_clips(renderer, JUDGE_TEACHING)))
    made = [(clip.family, clip.audio_CS) for clip in asked]
    numbers = {
        "right_family_first": share_first(judge, made),
        "prompts": float(len(made)),
        "of_unseen_corpus": share_first(judge, coded(model, solo_clips(renderer, JUDGE_UNSEEN))),
        "chance": 1 / len(judge.names),
    }
    for family in FAMILY_PROMPTS:
        numbers[family] = share_first(judge, [clip for clip in made if clip[0] == family])
    page.section("Instrument family", "Share of clips whose asked instrument family a small classifier ranks first.")
    page.table(("what", "share"), _rows(numbers))
    return numbers


@torch.inference_mode()
def coded(model: LoadedModel, clips: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """Return clips as the autoencoder passes them on: the classifier shall judge the DiT, not the codec."""
    return [(name, model.same.decode(model.same.encode(audio[None]))[0, :, : audio.shape[1]]) for name, audio in clips]


def against_real(made: Sequence[Tensor], reference: Reference, page: Page) -> dict[str, Any]:
    """Compare generated with real clips: style, Fréchet distance, repetition."""
    ours, theirs = rows(made, reference.rate), reference.rows_NF
    numbers: dict[str, Any] = {
        "style_distance": distance_of(ours, theirs),
        "style_distance_of_real": distance_of(theirs, theirs),
    }
    if len(theirs) >= 4 and len(ours) >= 2:
        numbers["frechet"] = frechet_of(ours, theirs)
        numbers["frechet_of_halves"] = frechet_of(theirs[::2], theirs[1::2])
    repeats = [closest(stretches(clip, reference.rate), reference.stretches) for clip in made]
    numbers["closest"], which = max(repeats)
    numbers["closest_name"] = reference.real[which].name
    if len(theirs) > 1:
        numbers["closest_among_real"] = max(likeness(*pair) for pair in combinations(reference.stretches, 2))
    page.section(
        "Against real audio",
        "Style distance: mean difference of log-mel statistics. Fréchet distance of the same features, beside that of "
        "two halves of the real clips. Closest: highest correlation of two seconds with any two seconds of the real "
        "audio; far above what real clips have among each other means that the model repeats them.",
    )
    page.table(("what", "value"), _rows(numbers))
    return numbers


def nano_prompts(maker: Maker, seeds: range, corpus: dict[str, float], page: Page) -> dict[str, Any]:
    """Measure tempo, brightness and pitch of nano's own prompts, beside its ``corpus`` where that was measured."""
    numbers: dict[str, Any] = nano_measures.generated(maker, seeds)
    if corpus:
        numbers["corpus"] = corpus
    page.section(
        "Adherence", "Tempo, brightness and pitch of nano's prompts beside chance and, if rendered, its corpus."
    )
    rows = [
        (f"{group}: {key.replace('_', ' ')}", value) for group, found in numbers.items() for key, value in found.items()
    ]
    page.table(("what", "value"), rows)
    return numbers


def _rows(numbers: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key.replace("_", " "), value) for key, value in numbers.items()]
