"""Clips rendered while a pack trains: the same prompts and seeds, before training and at every step asked for.

Knows no optimiser. They go the way of every generated clip, through ``generation.run``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from sa3_daw.errors import EngineError
from sa3_daw.generation.events import AudioChunk
from sa3_daw.generation.model import LoadedModel
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_training.evaluation.probes import adapted
from sa3_training.flow.denoiser import Denoiser
from sa3_training.loop import Numbers
from sa3_training.lora.adapt import AdapterRecipe, adapter_tensors
from sa3_training.lora.pack import write_adapter
from sa3_training.progress import Reporter

SECONDS = 6.0
PREVIEW_BPM = 120.0


def generate(
    model: LoadedModel, prompt: str, seed: int, *, bpm: float = PREVIEW_BPM, seconds: float = SECONDS
) -> NDArray[np.float32]:
    """Return audio [2, S] at the model's rate, made with the model's own defaults."""
    spec = model.spec
    job = Job(
        job_id="preview",
        prompt=prompt,
        num_samples=int(seconds * spec.sample_rate),
        sample_rate=spec.sample_rate,
        seed=seed,
        tempo_map=(TempoPoint(0.0, bpm),),
        model=spec.name,
        steps=spec.default_steps,
        guidance_scale=spec.default_guidance_scale,
    )
    with torch.inference_mode(), parametrize.cached():
        return np.concatenate([event.samples for event in run(job, model) if isinstance(event, AudioChunk)], axis=1)


Wear = Callable[[], AbstractContextManager[None]]
"""Puts the pack as it is now on the previewing model, for one ``with`` block."""


def worn_copy(model: LoadedModel, denoiser: Denoiser, recipe: AdapterRecipe, folder: Path) -> Wear:
    """Return how a model of its own wears the pack that is trained elsewhere, on a GPU: as a file, like any job."""

    @contextmanager
    def wear() -> Iterator[None]:
        path = folder / "pack-so-far.safetensors"
        write_adapter(adapter_tensors(denoiser), recipe.config(), {"base_model": model.spec.name}, path)
        with adapted(model, path):
            yield

    return wear


class Preview:
    """Writes ``previews/step-000100-1.wav`` and so on."""

    def __init__(self, model: LoadedModel, wear: Wear, prompts: tuple[str, ...], out: Path, report: Reporter) -> None:
        self._model = model
        self._wear = wear
        self._prompts = prompts
        self._folder = out / "previews"
        self._report = report

    def render(self, step: int) -> Numbers:
        """Render every prompt; a clip that the output gate or the disk refuses is named, and training goes on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, prompt in enumerate(self._prompts, start=1):
            path = self._folder / f"step-{step:06d}-{number}.wav"
            try:
                with self._wear():
                    audio = generate(self._model, prompt, seed=number)
            except EngineError as error:
                self._report.say(f"{path.name}: {error}")
                continue
            try:
                soundfile.write(path, audio.T, self._model.spec.sample_rate)
            except soundfile.LibsndfileError as error:
                path.unlink(missing_ok=True)
                self._report.say(f"{path.name} cannot be written: {error}")
                continue
            self._report.audio(f"preview {number}", audio.mean(0), self._model.spec.sample_rate, step)
        return {}
