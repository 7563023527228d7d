"""The evaluation report in a straight line: measure a model or two, write one HTML page and its numbers.

Knows no arguments and no measure. Two models stand side by side, section by section, below a table of all numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa3_daw.generation.model import LoadedModel, load_model
from sa3_training.checkpoints import replace_bytes, write_json
from sa3_training.evaluation import codec_sections, made_sections, material
from sa3_training.evaluation.made_sections import judged
from sa3_training.evaluation.material import Real
from sa3_training.evaluation.page import Page, beside
from sa3_training.evaluation.probes import adapted
from sa3_training.lora.train import model_folder

CODEC_CLIPS = 12
"""Real clips that go through the autoencoder; all of them are compared with the generated ones."""


@dataclass(frozen=True)
class ReportRecipe:
    """What is measured. ``data`` is real audio to reconstruct and compare with; without it, nano's corpus is, where its
    sound font is given. ``against`` is a second model; the style pack is worn by the first alone."""

    model: str
    out: Path
    data: Path | None = None
    adapter: Path | None = None
    num_seeds: int = 8
    sound_font: Path | None = None
    against: str = ""


def write_report(recipe: ReportRecipe) -> Path:
    """Measure and write ``out`` (HTML) and ``out`` with .json; return the page's path."""
    directory, name = model_folder(recipe.model)
    model = load_model(directory, name)
    title = f"{name} with {recipe.adapter.stem}" if recipe.adapter else name
    page = Page(title)
    with adapted(model, recipe.adapter):
        numbers = measure(model, recipe, page)
    if recipe.against:
        text, numbers = _compared(recipe, model, title, page, numbers)
    else:
        page.title = f"Evaluation of {title}"
        text, numbers = page.text, {"model": title} | numbers
    replace_bytes(recipe.out, text.encode())
    write_json(numbers, recipe.out.with_suffix(".json"))
    return recipe.out


def measure(model: LoadedModel, recipe: ReportRecipe, page: Page) -> dict[str, Any]:
    """Measure one model into ``page``; return the numbers by section."""
    rate = model.spec.sample_rate
    real = real_clips(recipe, model)
    numbers: dict[str, Any] = {
        "clock": codec_sections.clock(model, page),
        "speed": made_sections.speed(model, page),
    }
    if real:
        few = real[:CODEC_CLIPS]
        numbers["reconstruction"] = codec_sections.reconstruction(model, few, page)
        numbers["predicted"] = codec_sections.predicted(model, few, page)
        numbers["seams"] = codec_sections.seams(model, few, page)
    own = material.clips_of_prompts(model, real, recipe.num_seeds)
    asked = material.clips_of_families(model, range(recipe.num_seeds))
    made_sections.players([*own[: material.PROMPTS_PER_SEED], *asked], rate, page)
    numbers["kept"] = made_sections.kept([*own, *asked], rate, page)
    numbers["notes"] = judged("Notes of solo prompts", page, lambda: made_sections.solo_notes(asked, rate, page))
    numbers["musicnn"] = judged(
        "Prompt adherence by musicnn", page, lambda: made_sections.obedience(asked, own, real, rate, page)
    )
    if real:
        numbers |= made_sections.against_real([clip.audio_CS for clip in own], real, rate, page)
    if recipe.sound_font is not None and material.can_compare_with_corpus(model):
        numbers["families"] = made_sections.families(asked, model, recipe.sound_font, page)
    if model.spec.conditioning.beat_grid_dim:
        numbers["adherence"] = made_sections.nano_prompts(model, recipe.num_seeds, recipe.sound_font, page)
    return numbers


def real_clips(recipe: ReportRecipe, model: LoadedModel) -> list[Real]:
    """Return real clips of the folder, or of nano's corpus, or none."""
    if recipe.data is not None:
        return material.clips_of_folder(recipe.data, model.spec.sample_rate)
    if recipe.sound_font is not None and material.can_compare_with_corpus(model):
        return material.clips_of_corpus(recipe.sound_font)
    return []


def _compared(
    recipe: ReportRecipe, model: LoadedModel, title: str, page: Page, numbers: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Measure the second model and return the page of both and their numbers by title."""
    directory, name = model_folder(recipe.against)
    other = load_model(directory, name)
    page.title, other_title = title, name if name != title else f"{name} ({directory.resolve().parent.name})"
    other_page = Page(other_title)
    both = {title: numbers, other_title: measure(other, recipe, other_page)}
    top = Page(f"{title} and {other_title}")
    top.section("In numbers", "Every number of the sections below; each section tells how to read its own.")
    first, second = (dict(leaves(found)) for found in both.values())
    top.table(
        ("what", title, other_title),
        [(key, first.get(key, ""), second.get(key, "")) for key in dict.fromkeys([*first, *second])],
    )
    result: dict[str, Any] = {"models": both}
    real = real_clips(recipe, model)[:CODEC_CLIPS]
    if real and codec_sections.share_latents_shape((model, other)):
        result["cross_decode"] = codec_sections.cross_decode({title: model, other_title: other}, real, top)
    return beside(top, (page, other_page)), result


def leaves(numbers: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of nested numbers with the words that lead to it."""
    if isinstance(numbers, dict):
        for key, value in numbers.items():
            yield from leaves(value, f"{path}: {key}" if path else key)
    elif isinstance(numbers, list):
        for index, value in enumerate(numbers):
            yield from leaves(value, f"{path} {index + 1}")
    elif isinstance(numbers, int | float):
        yield path.replace("_", " "), float(numbers)
