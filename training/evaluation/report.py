"""The evaluation report in a straight line: measure a model or two, write one HTML page and its numbers.

Knows no arguments and no measure. Two models stand side by side, section by section, below a table of all numbers.
Both files are written anew after every section: a run that is ended leaves what it had measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sa3_daw.generation.model import LoadedModel, load_model
from sa3_training.checkpoints import replace_bytes, write_json
from sa3_training.corpus.seeds import reported
from sa3_training.corpus.sounds import SAMPLE_RATE
from sa3_training.evaluation import codec_sections, made_sections, material
from sa3_training.evaluation.made_sections import judged
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.page import Page, beside
from sa3_training.evaluation.probes import adapted
from sa3_training.evaluation.reference import Reference
from sa3_training.lora.train import model_folder

CODEC_CLIPS = 12
"""Real clips that go through the autoencoder; all of them are compared with the generated ones."""

Tell = Callable[[str], None]
Found = TypeVar("Found")


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


@dataclass
class Report:
    """The pages and numbers of one or two models as they grow."""

    out: Path
    titles: tuple[str, ...]
    tell: Tell
    pages: list[Page] = field(default_factory=list)
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    common: Page = field(default_factory=lambda: Page(""))
    cross_decode: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def begin(self, title: str) -> Page:
        """Begin the page of a model."""
        self.pages.append(Page(title))
        self.numbers[title] = {}
        return self.pages[-1]

    def told(self, what: str, work: Callable[[], Found]) -> Found:
        """Say what begins now, and do it."""
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        self.tell(f"{minutes}:{seconds:02d} {self.pages[-1].title}: {what}")
        return work()

    def section(self, name: str, work: Callable[[], Any]) -> None:
        """Add a section to the last page, its numbers to the last model's, and write both files."""
        self.numbers[self.pages[-1].title][name] = self.told(name.replace("_", " "), work)
        self.write(is_finished=False)

    def write(self, *, is_finished: bool) -> None:
        """Write the page and the numbers, whole or not at all."""
        end = "" if is_finished else " (unfinished)"
        if len(self.titles) == 1:
            page = self.pages[0]
            shown, found = Page(f"Evaluation of {page.title}{end}"), {"model": page.title, **self.numbers[page.title]}
            shown.sections = page.sections
            text = shown.text
        else:
            top = Page(" and ".join(self.titles) + end)
            top.section("In numbers", "Every number of the sections below; each section tells how to read its own.")
            columns = [dict(leaves(self.numbers.get(title, {}))) for title in self.titles]
            names = dict.fromkeys(name for column in columns for name in column)
            top.table(("what", *self.titles), [(name, *(c.get(name, "") for c in columns)) for name in names])
            top.sections += self.common.sections
            text, found = beside(top, self.pages), {"models": self.numbers, "cross_decode": self.cross_decode}
        replace_bytes(self.out, text.encode())
        write_json({"is_finished": is_finished, **found}, self.out.with_suffix(".json"))


def write_report(recipe: ReportRecipe, tell: Tell) -> Path:
    """Measure and write ``out`` (HTML) and ``out`` with .json; return the page's path. ``tell`` hears what begins."""
    models = _models(recipe)
    report = Report(recipe.out, tuple(models), tell)
    references: dict[int, Reference] = {}
    for number, (title, model) in enumerate(models.items()):
        rate = model.spec.sample_rate
        if rate not in references:
            references[rate] = Reference(rate, recipe.data, recipe.sound_font if rate == SAMPLE_RATE else None)
        report.begin(title)
        with adapted(model, recipe.adapter if number == 0 else None):
            measure(model, recipe.num_seeds, references[rate], report)
    real = references[rate].real[:CODEC_CLIPS]
    if len(models) > 1 and real and codec_sections.share_latents_shape(tuple(models.values())):
        report.cross_decode = report.told(
            "cross decode", lambda: codec_sections.cross_decode(models, real, report.common)
        )
    report.write(is_finished=True)
    return recipe.out


def measure(model: LoadedModel, num_seeds: int, reference: Reference, report: Report) -> None:
    """Measure one model into the report's last page."""
    page, rate, maker, seeds = report.pages[-1], model.spec.sample_rate, Maker(model), reported(num_seeds)
    report.section("clock", lambda: codec_sections.clock(model, page))
    report.section("speed", lambda: made_sections.speed(model, page))
    real = report.told("real clips", lambda: reference.real)
    if real:
        few = real[:CODEC_CLIPS]
        report.section("reconstruction", lambda: codec_sections.reconstruction(model, few, page))
        report.section("predicted", lambda: codec_sections.predicted(model, few, page))
        report.section("seams", lambda: codec_sections.seams(model, few, page))
    own = report.told("clips of prompts", lambda: material.clips_of_prompts(maker, real, seeds))
    asked = report.told("clips of instrument families", lambda: material.clips_of_families(maker, seeds))
    made_sections.players([*own[: material.PROMPTS_PER_SEED], *asked], rate, page)
    report.section("kept", lambda: made_sections.kept([*own, *asked], rate, page))
    report.section(
        "notes", lambda: judged("Notes of solo prompts", page, lambda: made_sections.solo_notes(asked, rate, page))
    )
    report.section(
        "musicnn",
        lambda: judged(
            "Prompt adherence by musicnn", page, lambda: made_sections.obedience(asked, own, reference, page)
        ),
    )
    if real:
        report.section(
            "against_real", lambda: made_sections.against_real([clip.audio_CS for clip in own], reference, page)
        )
    renderer = reference.renderer
    if renderer:
        report.section("families", lambda: made_sections.families(asked, model, renderer, page))
    if model.spec.conditioning.beat_grid_dim:
        report.section("adherence", lambda: made_sections.nano_prompts(maker, seeds, reference.corpus, page))


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


def _models(recipe: ReportRecipe) -> dict[str, LoadedModel]:
    """Load the model, and the second one, by their titles."""
    directory, name = model_folder(recipe.model)
    models = {f"{name} with {recipe.adapter.stem}" if recipe.adapter else name: load_model(directory, name)}
    if recipe.against:
        directory, name = model_folder(recipe.against)
        title = name if name not in models else f"{name} ({directory.resolve().parent.name})"
        models[title] = load_model(directory, name)
    return models
