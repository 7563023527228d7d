"""Style packs: what is trained is what the daemon plays, in every kind; a small run changes the sound."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from sa3_daw.adapter_files import describe_adapter
from sa3_daw.catalogue import EMBEDDED
from sa3_daw.checkpoint import read_adapter
from sa3_daw.errors import InvalidField, OutOfMemory, UnknownModel
from sa3_daw.generation.model import load_model
from sa3_daw.models.conditioner import Conditioner
from sa3_daw.models.dit import DiT
from sa3_daw.models.lora import BaseWeight, Form, Use
from sa3_daw.models.specs import ModelSpec
from sa3_training.cli import main
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation import report, timing
from sa3_training.evaluation.families import learn, share_first, solo_clips
from sa3_training.evaluation.likeness import distance, frechet, likeness, share_nearest
from sa3_training.evaluation.page import Page
from sa3_training.evaluation.probes import adapted, seam_jump
from sa3_training.evaluation.report import ReportRecipe, write_report
from sa3_training.evaluation.timing import Asked
from sa3_training.flow.denoiser import Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.loop import Draw
from sa3_training.lora import budget
from sa3_training.lora.adapt import (
    ALL_KINDS,
    AdapterRecipe,
    adaptable,
    adapter_tensors,
    attach,
    detach,
    expand,
    is_chosen,
    recompute_blocks,
)
from sa3_training.lora.budget import Load
from sa3_training.lora.held_out import is_overfitting, split
from sa3_training.lora.pack import Card, card_page, write_pack
from sa3_training.lora.train import PackRecipe, train_pack
from sa3_training.world import World
from tests.test_training_data import sound, write
from tests.test_training_losses import clicks
from tests.test_training_nano import Beeps
from tests.test_training_stages import denoiser, waves

RATE = 44100
CARD = Card(
    "zap", "nano", "dora-rows", 4, "zap", "CC0", "me", 10, 2, 1.5, ("zap, warm pad",), ("a.wav", "b.wav"),
    ("b.wav: is mono",), ("b.wav",), {"before": 1.0, "last": 0.7, "best": 0.6, "best_step": 8.0}, "2026-01-01", "test",
)  # fmt: skip


def scramble(model: Denoiser) -> None:
    """Give every adapter numbers that float16 holds exactly."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            change = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.data = (parameter.data + change).half().float()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_what_is_trained_is_what_the_daemon_plays(kind: str, tmp_path: Path) -> None:
    model = denoiser()
    base = {path: module.weight.detach().clone() for path, module in adaptable(model).items()}
    recipe = AdapterRecipe(kind=kind, rank=3, alpha=6.0, exclude=("conditioners",))
    paths = attach(model, recipe, seed=0)
    for path in paths:
        assert torch.allclose(adaptable(model)[path].weight, base[path], atol=1e-5), path
    scramble(model)
    write_pack(adapter_tensors(model), recipe.config(), CARD, tmp_path / "zap.safetensors")
    entry = describe_adapter(tmp_path / "zap.safetensors")
    assert (entry.kind, entry.rank, entry.alpha, entry.base_model, entry.num_layers) == (
        kind,
        3,
        6.0,
        "nano",
        len(paths),
    )
    adapter = read_adapter(entry)
    for path in paths:
        matrix = base[path].flatten(1)
        expected = Form().with_use(BaseWeight(lambda matrix=matrix: matrix), Use(adapter), adapter.layers[path])  # type: ignore[misc]
        ours = adaptable(model)[path].weight.detach().flatten(1)
        assert torch.allclose(expected.weight(matrix), ours, atol=2e-4), path
    detach(model)
    assert all(torch.equal(module.weight, base[path]) for path, module in adaptable(model).items())


def test_patterns_choose_layers() -> None:
    assert expand(("layers.[0-2].ff",)) == ["layers.0.ff", "layers.1.ff", "layers.2.ff"]
    assert expand(("[1-0]x[7-7]", "plain")) == ["1x7", "0x7", "plain"]
    assert is_chosen("model.transformer.layers.1.cross_attn.to_q", AdapterRecipe(include=("cross_attn",)))
    assert not is_chosen("model.transformer.layers.1.cross_attn.to_q", AdapterRecipe(exclude=("layers.[0-3].",)))
    with pytest.raises(InvalidField, match="cross_attn"):
        attach(denoiser(), AdapterRecipe(include=("nowhere",)), seed=0)
    with pytest.raises(InvalidField, match="dora-rows-xs"):
        attach(denoiser(), AdapterRecipe(kind="loha"), seed=0)


def test_only_the_adapter_is_trained() -> None:
    model = denoiser()
    attach(model, AdapterRecipe(rank=2), seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all(".parametrizations.weight.0." in name for name in trained)


def nano_spec() -> ModelSpec:
    spec = ModelSpec.from_directory(EMBEDDED / "nano", "nano")
    return replace(spec, dit=replace(spec.dit, depth=4))


def test_the_budget_grows_with_the_batch_and_says_what_would_fit() -> None:
    spec, load = nano_spec(), Load(2, 128, False, AdapterRecipe())
    needed = budget.needed_bytes(spec, load)
    double = budget.needed_bytes(spec, replace(load, batch_size=4))
    assert 1.3 * (needed - budget.RUNTIME_BYTES) < double - budget.RUNTIME_BYTES < 2.1 * (needed - budget.RUNTIME_BYTES)
    assert budget.fit(spec, load, None) == (load, needed)
    tighter, less = budget.fit(spec, load, needed - 1)
    assert tighter.recompute and less < needed
    with pytest.raises(OutOfMemory, match=r"needs about .* it fits with --batch-size \d+ --crop-seconds \d+"):
        budget.fit(spec, load, less - 1)
    with pytest.raises(OutOfMemory, match="no batch and no length would fit"):
        budget.fit(spec, load, 100 << 20)
    assert budget.needed_bytes(spec, replace(load, adapter=AdapterRecipe(kind="bora-xs"))) > 0


def test_the_budget_is_what_the_backward_pass_really_keeps() -> None:
    spec, load = nano_spec(), Load(2, 64, False, AdapterRecipe(rank=4))
    counted = budget.kept_bytes(spec, load)
    model = Denoiser(DiT(spec.dit), Conditioner(spec.conditioning))
    base = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    attach(model, load.adapter, seed=0)
    kept: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in base:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        budget.forward(model, spec, load)
    really = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert counted == pytest.approx(really, rel=0.1)


def test_recomputed_blocks_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        model = denoiser()
        attach(model, AdapterRecipe(rank=2), seed=0)
        scramble(model)
        if recompute:
            recompute_blocks(model)
        loss, _ = flow_loss(model, waves(Draw(0, 0, 0)), FlowRecipe(), 10.0, torch.Generator().manual_seed(0))
        torch.autograd.backward(loss)
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert gradients[0] and all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_overfitting_is_a_lasting_rise() -> None:
    falling = [1.0 - 0.01 * step for step in range(12)]
    assert not is_overfitting(falling)
    assert not is_overfitting([*falling, 0.95, 0.89])
    assert is_overfitting([*falling, 0.95, 0.96, 0.97])


def test_whole_files_are_held_out_where_there_are_enough() -> None:
    from sa3_training.data.latents import Item

    def items(names: str) -> list[Item]:
        return [Item(np.zeros((2, 4), np.float32), 4, "", name, 0.0, 1.0, 0, None) for name in names]

    trained, kept = split(items("aabbccddee"), seed=0)
    assert len(kept) == 2 and len({item.name for item in kept}) == 1
    assert not {item.name for item in kept} & {item.name for item in trained}
    assert split(items("aab"), seed=0)[1] == []
    assert len(split(items("aaaaaa"), seed=0)[1]) == 1


def test_the_card_tells_what_one_must_know() -> None:
    page = card_page(CARD, "zap.safetensors")
    for words in ("**zap** in the prompt", "licence: CC0", "zap, warm pad", "b.wav (held out)", "b.wav: is mono",
                  "1.0000 before, 0.7000 after, lowest 0.6000 at step 8", "made by me"):  # fmt: skip
        assert words in page


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackRecipe, Path]:
    """Train nano for a few steps on bright square arpeggios, stopped once on the way."""
    root = tmp_path_factory.mktemp("pack")
    for index, bpm in enumerate((100, 110, 120, 130, 140, 150)):
        write(root / "data" / f"square_arp_{bpm}bpm_Am.wav", squares(bpm, 2.5, index), subtype="PCM_16")
    write(root / "data" / "silent.wav", np.zeros((RATE, 2), np.float32))
    recipe = PackRecipe(
        data=root / "data", out=root / "out", name="squares", trigger="squares", num_steps=24, batch_size=4,
        crop_seconds=2.0, learning_rate=8e-3, preview_every=24, prompts=("squares",), licence="CC0",
    )  # fmt: skip
    path = train_pack(replace(recipe, minutes=0.02), World())
    assert path.exists(), "a run that its minutes end is a finished run"
    (root / "out" / "squares.safetensors").unlink()
    return recipe, train_pack(recipe, World())


def squares(bpm: float, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    audio = np.zeros((int(seconds * RATE), 2), np.float32)
    step = 15 / bpm
    for index in range(int(seconds / step)):
        note = 880 * 2 ** (rng.choice((0, 3, 7, 12)) / 12)
        times = np.arange(int(0.8 * step * RATE)) / RATE
        hit = 0.3 * np.sign(np.sin(2 * np.pi * note * times)) * np.exp(-5 * times)
        start = int(index * step * RATE)
        audio[start : start + len(hit)] += hit[: len(audio) - start, None]
    return audio


def test_a_pack_learns_and_its_error_on_held_out_files_falls(pack: tuple[PackRecipe, Path]) -> None:
    recipe, path = pack
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["held_out_loss"]["last"] < 0.95 * card["held_out_loss"]["before"]
    assert card["num_files"] == 6 and card["licence"] == "CC0"
    assert card["captions"][0] == "square arp, 100 BPM, A minor"
    assert any(fault.startswith("silent.wav") for fault in card["faults"])
    assert path.with_suffix(".md").read_text().startswith("# squares")
    assert (recipe.out / "previews" / "step-000000-1.wav").exists() and (
        recipe.out / "previews" / "step-000024-1.wav"
    ).exists()


def test_a_pack_moves_what_the_model_makes_towards_its_folder(pack: tuple[PackRecipe, Path]) -> None:
    recipe, path = pack
    model = load_model(EMBEDDED / "nano", "nano")
    previews = [
        soundfile.read(recipe.out / "previews" / f"step-{step:06d}-1.wav", dtype="float32")[0].T for step in (0, 24)
    ]
    before, after = (torch.from_numpy(audio.copy()) for audio in previews)
    with torch.inference_mode():
        style = [
            model.same.decode(model.same.encode(torch.from_numpy(squares(bpm, 3.0, bpm).T.copy())[None]))[0]
            for bpm in (105, 125)
        ]
    assert distance([after], style, RATE) < 0.97 * distance([before], style, RATE)
    weight = model.dit.transformer.project_in.weight
    plain = weight.detach().clone()
    with adapted(model, path):
        assert not torch.equal(weight, plain)
    assert torch.equal(weight, plain)


def test_a_folder_with_another_run_is_refused(pack: tuple[PackRecipe, Path]) -> None:
    recipe, _ = pack
    with pytest.raises(InvalidField, match="a run with another adapter"):
        train_pack(replace(recipe, adapter=AdapterRecipe(rank=3)), World())
    with pytest.raises(UnknownModel, match="nano"):
        train_pack(replace(recipe, model="small-music-base"), World())


def test_the_command_says_what_is_wrong_and_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora", "--data", str(tmp_path / "none"), "--name", "x", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("sa3-train: data is ")
    write(tmp_path / "data" / "Soft_Pad_90bpm.wav", sound(1.0))
    assert main(["captions", "--data", str(tmp_path / "data")]) == 0
    assert "soft pad, 90 BPM" in capsys.readouterr().out


def test_likeness_finds_a_repetition_and_style_ignores_the_notes() -> None:
    clips = [torch.from_numpy(squares(120, 3.0, seed).T.copy()) for seed in range(4)]
    tones = [torch.from_numpy(sound(3.0, level=0.1 + 0.1 * index).T.copy()) for index in range(4)]
    assert likeness(clips[0], clips[0], RATE) > 0.999
    assert likeness(clips[0], tones[0], RATE) < 0.9
    assert share_nearest(clips[:2], clips[2:], tones, RATE) == 1
    assert frechet(clips, clips, RATE) == pytest.approx(0, abs=1e-6)
    assert frechet(clips, tones, RATE) > 1


def test_a_hard_cut_is_heard_as_a_seam() -> None:
    audio = torch.from_numpy(sound(3.0).T.copy())
    cut = audio.clone()
    cut[:, RATE : 2 * RATE] = torch.from_numpy(squares(120, 1.0, 0).T.copy())
    assert seam_jump(cut, (RATE, 2 * RATE), RATE) > 2 * seam_jump(audio, (RATE, 2 * RATE), RATE)


def test_a_page_holds_everything_it_shows() -> None:
    page = Page("A & B")
    page.section("Clips", "note")
    page.table(("name", "value"), [("<b>", 0.123456)])
    page.clip("clip", torch.from_numpy(sound(0.5).T.copy()), RATE)
    text = page.text
    assert "A &amp; B" in text and "&lt;b&gt;" in text and "0.1235" in text
    assert "data:audio/mpeg;base64," in text and "data:image/png;base64," in text
    assert "http" not in text


def test_clicks_keep_their_tempo_and_not_another() -> None:
    bpms = (90.0, 117.0, 140.0)
    clips = [Asked(clicks(bpm, 6.0).expand(2, -1), bpm) for bpm in bpms]
    numbers = timing.adherence(clips, RATE)
    assert (numbers["with_a_clear_beat"], numbers["tempo_kept"]) == (1, 1)
    assert numbers["tempo_kept_of_another_clip"] < 1 and numbers["median_phase_error_ms"] < 10
    chord = sum(np.sin(2 * np.pi * 440 * 2 ** (note / 12) * np.arange(3 * RATE) / RATE) for note in (0, 3, 7, 12))
    audio = torch.from_numpy((0.1 * np.repeat(np.asarray(chord)[None], 2, axis=0)).astype(np.float32))
    assert timing.key_of(audio, RATE) == "A minor"


def test_the_family_classifier_knows_its_corpus() -> None:
    solo = list(solo_clips(Beeps(), range(60)))
    half = len(solo) // 2
    families = learn(solo[:half])
    assert share_first(families, solo[half:]) > 2 / len(families.names)
    assert sorted(families.rank(solo[0][1])) == sorted(families.names)


def test_the_report_holds_every_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS", 2.5)
    monkeypatch.setattr(nano_measures, "SECONDS", 1.5)
    for seed in range(4):
        write(tmp_path / "data" / f"square arp 120bpm {seed}.wav", squares(120, 2.5, seed))
    out = write_report(ReportRecipe("nano", tmp_path / "report.html", tmp_path / "data", num_seeds=1))
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert {
        "clock",
        "reconstruction",
        "predicted",
        "seams",
        "kept",
        "frechet",
        "closest",
        "adherence",
    } <= numbers.keys()
    assert numbers["clock"]["numbers_per_second"] == pytest.approx(2756.25)
    assert numbers["closest"] < numbers["closest_among_real"] <= 1.001
    page = out.read_text()
    assert page.count("<audio") >= 3 * 3 + 1 and page.count("<h2>") == len(set(page.split("<h2>")[1:]))
