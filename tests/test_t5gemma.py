"""The published text encoder: unpadded equals transformers' padded run; prompts are kept; broken folders are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5GemmaForConditionalGeneration

from sa3_daw.errors import CheckpointMismatch, CheckpointMissing
from sa3_daw.models.t5gemma import T5Gemma
from tests.tiny_t5gemma import WIDTH, WORDS, write_t5gemma

MAX_TOKENS = 12
PROMPTS = ["warm pad", "", "dry kick with a long tail", "kick " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t5gemma")
    write_t5gemma(path)
    return path


def published_run(model: T5GemmaForConditionalGeneration, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """The original's way: one padded batch through the encoder of the whole model."""
    ids = [[WORDS.index(word) for word in prompt.split()][:MAX_TOKENS] for prompt in prompts]
    index = torch.tensor([row + [0] * (MAX_TOKENS - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (MAX_TOKENS - len(row)) for row in ids])
    states = model.get_encoder()(input_ids=index, attention_mask=mask).last_hidden_state
    return states, mask.bool()


@torch.no_grad()
def test_the_unpadded_run_equals_the_whole_models_padded_one(tmp_path: Path) -> None:
    expected, mask = published_run(write_t5gemma(tmp_path), PROMPTS)
    states, ours = T5Gemma.from_directory(tmp_path).encode(PROMPTS, MAX_TOKENS)
    assert states.shape == (len(PROMPTS), MAX_TOKENS, WIDTH) and torch.equal(ours, mask)
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=1e-5)
    assert not states[~mask].any()


def test_the_encoder_keeps_the_precision_on_disk_and_returns_float32(tmp_path: Path) -> None:
    write_t5gemma(tmp_path, torch.bfloat16)
    encoder = T5Gemma.from_directory(tmp_path)
    assert {parameter.dtype for parameter in encoder._encoder.parameters()} == {torch.bfloat16}
    assert encoder.encode(["warm pad"], MAX_TOKENS)[0].dtype == torch.float32


def test_only_the_encoders_half_is_loaded(folder: Path) -> None:
    names = {name.split(".")[0] for name, _ in T5Gemma.from_directory(folder)._encoder.named_parameters()}
    assert names == {"encoder"}


def test_any_text_is_accepted(folder: Path) -> None:
    encoder = T5Gemma.from_directory(folder)
    for text in ("\ud800", "\0", "x" * 1_000_000, "<bos><eos>"):
        assert bool(torch.isfinite(encoder.encode([text], MAX_TOKENS)[0]).all())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "config.json", "model.safetensors"):
        write_t5gemma(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(CheckpointMissing, match=name):
            T5Gemma.from_directory(tmp_path)


def test_missing_and_misshapen_weights_are_listed(tmp_path: Path) -> None:
    write_t5gemma(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.encoder.layers.1.mlp.up_proj.weight"]
    tensors["model.encoder.norm.weight"] = torch.ones(WIDTH + 1)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(CheckpointMismatch) as caught:
        T5Gemma.from_directory(tmp_path)
    assert "layers.1.mlp.up_proj.weight is missing" in caught.value.message
    assert "norm.weight is misshapen" in caught.value.message


def test_a_truncated_file_and_a_foreign_config_are_refused(tmp_path: Path) -> None:
    write_t5gemma(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointMismatch, match="incomplete"):
        T5Gemma.from_directory(tmp_path)
    write_t5gemma(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointMismatch, match="not a tokenizer"):
        T5Gemma.from_directory(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5gemma", "encoder": 3}))
    with pytest.raises(CheckpointMismatch, match="no T5Gemma folder"):
        T5Gemma.from_directory(tmp_path)
