"""The embedded text encoder against golden states of the original weights. Knows no diffusion model.

The goldens are written by ``python -m sa3_training.vendor_text_encoder SOURCE OUTPUT GOLDEN`` from float32.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import sa3_daw.embedded
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing
from sa3_daw.models.text_encoder import MAX_CHARACTERS, MiniLM

FOLDER = Path(sa3_daw.embedded.__file__).parent / "text_encoder"
GOLDEN = Path(__file__).parent / "golden_text" / "minilm.safetensors"

MIN_COSINE = 0.999
"""Int8 against float32: 655 token states of 53 music prompts reach .99941 to .9999."""

PADDING_TOLERANCE = 1e-5
"""Batched and single matrix products sum in another order: 2e-6 measured on states of size 1."""

MAX_TOKENS = 64


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM.from_directory(FOLDER)


@pytest.fixture
def copied_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "text_encoder"))


def pooled(encoder: MiniLM, text: str) -> Tensor:
    states, mask = encoder.encode([text], MAX_TOKENS)
    return states[mask].mean(dim=0)


def test_states_match_the_float32_original(encoder: MiniLM) -> None:
    golden = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        prompts = file.metadata()
    assert len(prompts) == 3
    for number, prompt in prompts.items():
        states, mask = encoder.encode([prompt], MAX_TOKENS)
        wanted = golden[f"{number}.states"]
        stride = -(-int(mask.sum()) // len(wanted))
        assert F.cosine_similarity(states[mask][::stride], wanted, dim=-1).min() >= MIN_COSINE
        assert F.cosine_similarity(pooled(encoder, prompt), golden[f"{number}.pooled"], dim=-1) >= MIN_COSINE


def test_a_batch_of_different_lengths_equals_single_prompts(encoder: MiniLM) -> None:
    texts = ["kick", "", "a slow and very wide pad, warm, in D dorian, with long reverb tails"]
    states, mask = encoder.encode(texts, MAX_TOKENS)
    for row, text in enumerate(texts):
        single_states, single_mask = encoder.encode([text], MAX_TOKENS)
        assert torch.equal(mask[row], single_mask[0])
        torch.testing.assert_close(states[row], single_states[0], rtol=0, atol=PADDING_TOLERANCE)


def test_states_are_float32_right_padded_with_zeros(encoder: MiniLM) -> None:
    states, mask = encoder.encode(["closed hi-hats", ""], 20)
    assert states.shape == (2, 20, 384) and states.dtype == torch.float32
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == [6, 2]  # [CLS] closed hi - hats [SEP], and [CLS] [SEP]
    assert mask[:, :2].all() and not states[~mask].any()


def test_the_same_text_gives_the_same_bits(encoder: MiniLM) -> None:
    first, second = (encoder.encode(["dub techno chords"], 16)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_long_prompt_is_cut_at_max_tokens_and_keeps_its_closing_token(encoder: MiniLM) -> None:
    states, mask = encoder.encode(["bass " * 100], 8)
    assert mask.all()
    same_states, _ = encoder.encode(["bass " * 6], 8)
    torch.testing.assert_close(states, same_states, rtol=0, atol=PADDING_TOLERANCE)


def test_more_tokens_than_learned_positions_are_padding(encoder: MiniLM) -> None:
    states, mask = encoder.encode(["bass " * 1000], 600)
    assert states.shape == (1, 600, 384)
    assert mask.sum() == encoder.sizes.positions == 512


ODD_TEXTS = {
    "empty": "",
    "blank": " \t\n",
    "emoji": "🎹🥁👩\u200d🎤",
    "compatibility": "\ufb01 \u2167 A\u030a \ufeff",
    "cjk": "静かなピアノ",
    "right-to-left": "صوت",
    "control": "\x00\x07\x7f",
    "lone-surrogate": "\ud800 pad",
    "special-tokens": "[PAD] [SEP]",
    "one-long-word": "é" * 5000,
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_gives_finite_states(encoder: MiniLM, text: str) -> None:
    states, mask = encoder.encode([text], MAX_TOKENS)
    assert torch.isfinite(states).all()
    assert mask.sum() >= 2


def test_a_prompt_of_100_kilobytes_equals_its_beginning(encoder: MiniLM) -> None:
    text = "rolling bass, " * 7200
    states, mask = encoder.encode([text], 256)
    assert len(text) > 100_000 and mask.all()
    assert torch.equal(states, encoder.encode([text[:MAX_CHARACTERS]], 256)[0])


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("warm pad chords", "soft synth pads", "closed hi-hats"),
        ("808 kick drum", "booming bass drum", "string quartet"),
        ("felt piano", "soft upright piano", "distorted guitar riff"),
    ],
)
def test_like_sounds_are_nearer_than_unlike_sounds(encoder: MiniLM, text: str, near: str, far: str) -> None:
    cosines = F.cosine_similarity(
        pooled(encoder, text), torch.stack([pooled(encoder, near), pooled(encoder, far)]), dim=-1
    )
    assert cosines[0] > cosines[1] + 0.1


def test_states_can_take_part_in_training(encoder: MiniLM) -> None:
    weight = torch.ones(384, requires_grad=True)
    states, mask = encoder.encode(["pad"], 4)
    (gradient,) = torch.autograd.grad(torch.where(mask[..., None], states * weight, weight).sum(), weight)
    assert gradient.isfinite().all()


def test_the_token_table_stays_int8(encoder: MiniLM) -> None:
    assert encoder.words.weight.dtype == torch.int8
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_every_stored_file_is_below_15_mib() -> None:
    assert max(path.stat().st_size for path in FOLDER.iterdir()) <= 15 * 2**20
    assert {"LICENSE", "NOTICE"} <= {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"])
def test_a_missing_file_is_named(copied_folder: Path, name: str) -> None:
    (copied_folder / name).unlink()
    with pytest.raises(CheckpointMissing) as caught:
        MiniLM.from_directory(copied_folder)
    assert str(copied_folder) in caught.value.message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"])
def test_a_damaged_file_is_named(copied_folder: Path, name: str) -> None:
    (copied_folder / name).write_text("{]")
    with pytest.raises(CheckpointMismatch, match=name):
        MiniLM.from_directory(copied_folder)


def test_an_unknown_config_key_is_refused(copied_folder: Path) -> None:
    path = copied_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dropout": 0.1}))
    with pytest.raises(CheckpointMismatch, match=r"config\.json"):
        MiniLM.from_directory(copied_folder)


def test_a_tokenizer_of_another_vocabulary_is_refused(copied_folder: Path) -> None:
    path = copied_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocabulary": 30000}))
    with pytest.raises(CheckpointMismatch, match="30522 tokens"):
        MiniLM.from_directory(copied_folder)


def test_all_keys_that_do_not_fit_are_named(copied_folder: Path) -> None:
    path = copied_folder / "model-00001-of-00002.safetensors"
    tensors = load_file(path)
    tensors["layers.0.left_over"] = tensors.pop("layers.0.up.bias")
    tensors["layers.0.down.bias"] = torch.zeros(7)
    tensors["layers.1.down.scale"] = torch.ones(1, 1)
    save_file(tensors, path)
    with pytest.raises(CheckpointMismatch) as caught:
        MiniLM.from_directory(copied_folder)
    for part in (
        "layers.0.up.bias is missing",
        "layers.0.left_over is unexpected",
        "layers.0.down.bias is torch.float32 [7], wanted torch.float32 [384]",
        "layers.1.down.scale is unexpected",
    ):
        assert part in caught.value.message


def test_a_float_token_table_is_refused(copied_folder: Path) -> None:
    path = copied_folder / "model-00002-of-00002.safetensors"
    tensors = load_file(path)
    tensors["words.weight"] = tensors["words.weight"].half()
    save_file(tensors, path)
    with pytest.raises(CheckpointMismatch, match=r"words\.weight is torch\.float16"):
        MiniLM.from_directory(copied_folder)
