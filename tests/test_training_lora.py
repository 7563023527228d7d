"""Style packs: what is trained is what the daemon plays, in every kind; a small run changes the sound."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
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
from sa3_training.evaluation.likeness import distance
from sa3_training.evaluation.probes import adapted
from sa3_training.flow.denoiser import Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.loop import Draw, Position
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
from sa3_training.lora.preview import generate, worn_copy
from sa3_training.lora.train import PackRecipe, train_pack
from sa3_training.world import World
from tests.test_training_data import sound, write
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
        data=root / "data", out=root / "out", name="squares", trigger="squares", num_steps=18, batch_size=4,
        crop_seconds=2.0, learning_rate=8e-3, preview_every=18, prompts=("squares",), licence="CC0",
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
        recipe.out / "previews" / "step-000018-1.wav"
    ).exists()


def test_a_pack_moves_what_the_model_makes_towards_its_folder(pack: tuple[PackRecipe, Path]) -> None:
    recipe, path = pack
    model = load_model(EMBEDDED / "nano", "nano")
    previews = [
        soundfile.read(recipe.out / "previews" / f"step-{step:06d}-1.wav", dtype="float32")[0].T for step in (0, 18)
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


def test_a_run_that_is_stopped_says_so_and_names_no_pack(
    pack: tuple[PackRecipe, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, _ = pack
    monkeypatch.setattr("sa3_training.lora.train.train", lambda *_: Position(step=20, is_done=False))
    words = ("--data", recipe.data, "--name", recipe.name, "--out", recipe.out, "--batch-size", 4, "--crop-seconds", 2,
             "--learning-rate", recipe.learning_rate, "--preview-every", 0, "--steps", 60)  # fmt: skip
    assert main(["lora", *map(str, words)]) == 130
    said = capsys.readouterr()
    assert "stopped at step 20 of 60; the same command goes on" in said.err and said.out == ""
    latents = ("--data", recipe.out / "latents", "--out", recipe.out.parent / "again", "--preview-every", 0)
    assert main(["lora", "--name", "again", *map(str, latents)]) == 130
    said = capsys.readouterr()
    assert "0.3 minutes of audio" in said.err and "encoded" not in said.err


def test_the_command_says_what_is_wrong_and_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora", "--data", str(tmp_path / "none"), "--name", "x", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("sa3-train: data is ")
    write(tmp_path / "data" / "Soft_Pad_90bpm.wav", sound(1.0))
    assert main(["captions", "--data", str(tmp_path / "data")]) == 0
    assert "soft pad, 90 BPM" in capsys.readouterr().out


def test_a_model_of_its_own_previews_what_is_trained_elsewhere(pack: tuple[PackRecipe, Path], tmp_path: Path) -> None:
    recipe, path = pack
    model = load_model(EMBEDDED / "nano", "nano")
    elsewhere = copy.deepcopy(Denoiser(model.dit, model.conditioner))
    attach(elsewhere, recipe.adapter, seed=0)
    tensors, _ = tensors_of(path)
    for name, parameter in elsewhere.named_parameters():
        if parameter.requires_grad:
            key = name.removeprefix("conditioner.") if name.startswith("conditioner.") else "model." + name[4:]
            parameter.data = tensors[key].float()
    plain = generate(model, "squares", seed=1, seconds=1.0)
    with worn_copy(model, elsewhere, recipe.adapter, tmp_path)():
        worn = generate(model, "squares", seed=1, seconds=1.0)
    with adapted(model, path):
        wanted = generate(model, "squares", seed=1, seconds=1.0)
    assert np.allclose(worn, wanted, atol=1e-5) and not np.allclose(worn, plain, atol=1e-3)


def tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def test_the_file_says_what_it_is_made_for(pack: tuple[PackRecipe, Path]) -> None:
    tensors, facts = tensors_of(pack[1])
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    assert {"lora_config", "base_model", "step", "trigger", "licence"} == facts.keys()
    assert json.loads(facts["lora_config"])["adapter_type"] == "dora-rows"
