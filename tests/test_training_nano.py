"""The whole pipeline of nano in seconds: every stage runs, resumes, and the best candidate is kept."""

from __future__ import annotations

import json
import operator
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.errors import BadOutput, InvalidField
from sa3_daw.generation.model import load_model
from sa3_training import candidates as candidates_module
from sa3_training import nano as nano_module
from sa3_training import shared_work
from sa3_training.candidates import Candidates, digest, replace_folder, score
from sa3_training.data import corpus_pool
from sa3_training.data.corpus_pool import Lengths, render_clips
from sa3_training.data.pairs import Pairs
from sa3_training.evaluation import families, material
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation.families import Families
from sa3_training.lapped import LappedTransform
from sa3_training.loop import stored_step
from sa3_training.nano import build_nano
from sa3_training.progress import read_log
from sa3_training.recipes import nano_on_gpu
from sa3_training.rehearsal import rehearsal
from sa3_training.world import World
from tests.beeps import Beeps


def test_the_whole_gpu_recipe_runs_and_a_second_run_does_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (nano_measures, families, material):
        monkeypatch.setattr(module, "SECONDS", 1.5)
    monkeypatch.setattr(nano_module, "CODEC_SECONDS", 1.5)
    few = {family: families.PROMPTS[family][:1] for family in ("drums", "hats", "bass", "pad")}
    monkeypatch.setattr(material, "FAMILY_PROMPTS", few)
    recipe = rehearsal(nano_on_gpu())
    assert recipe.size.decoder_depth
    synthesiser = Beeps()
    make_pairs, on_its_clock = nano_module.decoder_pairs, list[bool]()

    def pairs(*arguments: Any) -> list[Pairs]:
        on_its_clock.append((tmp_path / "decoder.log").exists())
        return make_pairs(*arguments)

    monkeypatch.setattr(nano_module, "decoder_pairs", pairs)
    folder = build_nano(recipe, synthesiser, tmp_path, World())
    for stage, steps in (("dit", 25), ("guidance", 4), ("decoder", 4), ("warm-up", 4), ("post", 4)):
        assert stored_step(tmp_path / f"{stage}.ckpt") == steps
    log = read_log(tmp_path / "dit.log")
    assert sum(entry["made"] for entry in log[-8:]) < sum(entry["made"] for entry in log[:8])
    candidates = json.loads((tmp_path / "candidates.json").read_text())
    assert list(candidates) == ["shipped", "base", "unguided", "decoder", "warm-up", "post"]
    best = max(candidates, key=lambda name: candidates[name]["score"])
    assert best == "shipped", "a few steps cannot beat it"
    kept, wanted = load_model(folder, "nano"), load_model(EMBEDDED / "nano", "nano")
    assert kept.spec.objective == wanted.spec.objective
    assert all(torch.equal(tensor, wanted.dit.state_dict()[key]) for key, tensor in kept.dit.state_dict().items())
    finished = load_model(tmp_path / "candidates" / "post", "nano")
    assert (finished.spec.sampler, finished.spec.default_guidance_scale) == ("pingpong", 1.0)
    assert not (tmp_path / "pairs.pt").exists()
    assert on_its_clock == [False], "the minutes of the decoder's stage are for training"
    before = synthesiser.rendered
    build_nano(recipe, synthesiser, tmp_path, World())
    assert synthesiser.rendered - before == 8, "more than the decoder's judge hears was rendered again"
    with pytest.raises(InvalidField, match="a run with another clip_frames"):
        build_nano(replace(recipe, clip_frames=44), synthesiser, tmp_path, World())


def playing(folder: Path, goodness: float) -> Path:
    """Write a model folder of which only its goodness is known."""
    folder.mkdir(exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(goodness))
    return folder


def goodness_of(judge: Families, folder: Path, seeds: range) -> dict[str, Any]:
    heard = json.loads((folder / "model_config.json").read_text()) * len(seeds) / 3
    return {
        "tempo": {"on_tempo_asked": heard}, "centroid": {"whole_order": heard}, "bass": {"in_tune": heard},
        "pad": {"in_tune": heard}, "families": {"right_family_first": heard},
    }  # fmt: skip


def test_the_best_candidate_so_far_lies_ready_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates_module, "measured_with", goodness_of)
    taught: list[Families] = []

    def teach() -> Families:
        taught.append(Families((), torch.zeros(0), torch.zeros(0)))
        return taught[-1]

    def add(name: str, folder: Path, num_seeds: int = 6) -> float:
        Candidates(tmp_path / "out", teach, num_seeds, num_processes=1).add(name, folder)
        found: float = json.loads((tmp_path / "out" / "nano" / "model_config.json").read_text())
        return found

    folders = {name: playing(tmp_path / name, good) for name, good in (("a", 0.5), ("b", 0.9), ("c", 0.7))}
    assert [add(name, folder) for name, folder in folders.items()] == [0.5, 0.9, 0.9]
    assert (add("a", folders["a"]), len(taught)) == (0.9, 3), "a resumed run measured again, or shipped a worse one"
    assert (add("a", playing(folders["a"], 0.95)), len(taught)) == (0.95, 4)
    scores = json.loads((tmp_path / "out" / "candidates.json").read_text())
    assert scores["c"]["score"] == pytest.approx(0.7), "the mean over pieces of seeds"
    assert (add("c", folders["c"], num_seeds=3), len(taught)) == (0.95, 5), "asked for other seeds, not heard again"


def test_a_candidate_that_makes_no_audio_scores_nothing_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(judge: Families, folder: Path, seeds: range) -> dict[str, Any]:
        raise BadOutput("the result is silent")

    def add(name: str, folder: Path) -> dict[str, Any]:
        silent = Families((), torch.zeros(0), torch.zeros(0))
        Candidates(tmp_path / "out", lambda: silent, num_seeds=3, num_processes=1).add(name, folder)
        found: dict[str, Any] = json.loads((tmp_path / "out" / "candidates.json").read_text())[name]
        return found

    monkeypatch.setattr(candidates_module, "measured_with", goodness_of)
    good = playing(tmp_path / "good", 0.1)
    add("good", good)
    monkeypatch.setattr(candidates_module, "measured_with", refused)
    found = add("bad", playing(tmp_path / "bad", 0.9))
    assert (found["score"], found["measured"]) == (0.0, {"refused": "the result is silent"})
    assert digest(tmp_path / "out" / "nano") == digest(good)


def test_a_work_folder_may_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates_module, "measured_with", goodness_of)
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()

    def add(out: Path, name: str, goodness: float) -> None:
        judge = Families((), torch.zeros(0), torch.zeros(0))
        playing(out / name, goodness)
        Candidates(out, lambda: judge, num_seeds=3, num_processes=1).add(name, out / name)

    add(before, "base", 0.5)
    add(before, "post", 0.7)
    shutil.rmtree(before / "nano")
    before.rename(after)
    add(after, "base", 0.5)
    assert digest(after / "nano") == digest(after / "base")
    add(after, "post", 0.7)
    assert digest(after / "nano") == digest(after / "post")


def test_a_copy_that_was_killed_half_way_is_made_whole(tmp_path: Path) -> None:
    source, target = playing(tmp_path / "source", 1.0), tmp_path / "nano"
    playing(tmp_path / "nano.old", 0.5)
    (tmp_path / "nano.new").mkdir()
    replace_folder(source, target)
    assert digest(target) == digest(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nano", "source"]


def test_any_number_of_processes_renders_the_same_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_pool, "CLIPS_PER_PIECE", 2)
    weight = torch.randn(4, 2, 512, generator=torch.Generator().manual_seed(0))
    one, two = (
        render_clips(range(5), 200, LappedTransform(weight, weight), Beeps(), num_processes=number) for number in (1, 2)
    )
    assert all(torch.equal(getattr(one, key), getattr(two, key)) for key in ("latents", "grids", "states", "masks"))
    assert one.latents.shape == (5, 4, 200) and torch.equal(one.caption_of, two.caption_of)


def test_no_pool_is_larger_than_windows_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, num_processes: int, *_: object) -> None:
            asked.append(num_processes)
            super().__init__(1)

    monkeypatch.setattr(shared_work, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(shared_work, "_do", operator.neg)
    assert shared_work.shared(operator.neg, range(200), 96) == [-item for item in range(200)]
    assert shared_work.shared(operator.neg, [1, 2], 96) == [-1, -2]
    assert shared_work.shared(operator.neg, [], 96) == []
    assert asked == [61, 2]


WORKING = """
import os, sys, time
from pathlib import Path
from sa3_training.shared_work import shared

def take_long(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    try:
        shared(take_long, [sys.argv[1]] * 6, 2)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""
"""Every process leaves a sign that names it, then works for ten minutes."""


def test_an_interrupt_ends_shared_work_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    script, signs = tmp_path / "working.py", tmp_path / "signs"
    script.write_text(WORKING)
    signs.mkdir()
    path = {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(signs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | path, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(signs.iterdir())) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, complaints = process.communicate(timeout=30)
    assert (out, complaints, process.returncode) == ("stopped\n", "", 0)
    assert time.monotonic() - asked < 10, "a quiet machine takes a tenth of a second"
    for sign in signs.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(sign.name), 0)


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
