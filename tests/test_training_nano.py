"""The whole pipeline of nano in seconds: every stage runs, resumes, and the best candidate is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.generation.model import load_model
from sa3_training.corpus.score import DRUMS, Score
from sa3_training.corpus.sounds import SAMPLE_RATE
from sa3_training.data.corpus_pool import Lengths
from sa3_training.evaluation import families, material
from sa3_training.evaluation import nano as nano_measures
from sa3_training.loop import LoopRecipe, stored_step
from sa3_training.nano import build_nano, score
from sa3_training.progress import read_log
from sa3_training.recipes import NanoRecipe, NanoSize, nano
from sa3_training.stages.same import SameRecipe
from sa3_training.stages.warmup import WarmUpRecipe
from sa3_training.world import World


class Beeps:
    """A synthesiser of sines and clicks, so that no sound font is needed."""

    def __init__(self) -> None:
        self.rendered = 0

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        self.rendered += 1
        audio = np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32)
        for note in score.notes:
            start = round(note.start_ppq * 60 / score.bpm * SAMPLE_RATE)
            times = np.arange(min(4000, max(0, audio.shape[1] - start))) / SAMPLE_RATE
            hertz = 4000 if note.part in DRUMS else 440 * 2 ** ((note.pitch - 69) / 12)
            audio[:, start : start + len(times)] += 0.1 * np.sin(2 * np.pi * hertz * times) * np.exp(-20 * times)
        return audio


def small() -> NanoRecipe:
    recipe = nano()
    few = LoopRecipe(num_steps=4, log_every_steps=1)
    return replace(
        recipe,
        size=NanoSize(dit_width=64, dit_depth=1, decoder_depth=1),
        fit_seeds=range(0, 3), clip_seeds=range(0, 6), solo_seeds=range(500_000, 500_004), clip_frames=40,
        long_seeds=range(20_000, 20_002), long_frames=60,
        held_out_seeds=range(100_000, 100_008), decoder_seeds=range(30_000, 30_002), decoder_clip_seconds=2.0,
        codec=replace(recipe.codec, crop_frames=16, batch_size=1,
                      losses=SameRecipe(discriminator_width=2, probe_width=16, probe_depth=1),
                      loop=LoopRecipe(2, log_every_steps=1)),
        lengths=Lengths(12, 40, 120), dit_loop=replace(few, num_steps=25),
        guidance_loop=few, warm_up=WarmUpRecipe(teacher_steps=2), warm_up_loop=few, post_loop=few,
        judge_teaching_seeds=range(40_000, 40_024), judge_seeds=1,
    )  # fmt: skip


def test_the_whole_pipeline_runs_and_a_second_run_does_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (nano_measures, families, material):
        monkeypatch.setattr(module, "SECONDS", 1.5)
    synthesiser = Beeps()
    folder = build_nano(small(), synthesiser, tmp_path, World())
    assert (stored_step(tmp_path / "dit.ckpt"), stored_step(tmp_path / "post.ckpt")) == (25, 4)
    log = read_log(tmp_path / "dit.log")
    assert sum(entry["made"] for entry in log[-8:]) < sum(entry["made"] for entry in log[:8])
    candidates = json.loads((tmp_path / "candidates.json").read_text())
    assert set(candidates) == {"shipped", "base", "unguided", "warm-up", "post"}
    best = max(candidates, key=lambda name: candidates[name]["score"])
    assert best == "shipped", "a few steps cannot beat it"
    kept, wanted = load_model(folder, "nano"), load_model(EMBEDDED / "nano", "nano")
    assert kept.spec.objective == wanted.spec.objective
    assert all(torch.equal(tensor, wanted.dit.state_dict()[key]) for key, tensor in kept.dit.state_dict().items())
    before = synthesiser.rendered
    num_solos = len(list(families.solo_clips(Beeps(), small().judge_teaching_seeds)))
    build_nano(small(), synthesiser, tmp_path, World())
    assert synthesiser.rendered - before == 2 + 8 + num_solos, "more than the judges was rendered again"


def test_lengths_vary_evenly_in_octaves_at_one_cost() -> None:
    import random

    lengths = Lengths(48, 648, 1760)
    drawn = [lengths.draw(random.Random(seed)) for seed in range(3000)]
    frames = [num_frames for num_frames, _ in drawn]
    assert 48 <= min(frames) < 50 and 640 < max(frames) <= 648
    assert 0.45 < sum(num_frames < (48 * 648) ** 0.5 for num_frames in frames) / 3000 < 0.55
    assert all(num_frames * size <= 1760 for num_frames, size in drawn)


def test_a_candidate_is_judged_by_what_can_be_heard() -> None:
    measured = {
        "tempo": {"on_tempo_asked": 1.0}, "centroid": {"whole_order": 0.5}, "bass": {"in_tune": 0.5},
        "pad": {"in_tune": 0.0}, "families": {"right_family_first": 0.75},
    }  # fmt: skip
    assert score(measured) == 0.55
