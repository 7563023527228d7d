"""Strict loading: every key used, every mismatch listed, nothing half loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sa3_daw.checkpoint import build, load_strict, read_tensors
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing

GOLDEN = Path(__file__).parent / "golden"


def linear() -> nn.Linear:
    return build(lambda: nn.Linear(2, 3))


def test_missing_unexpected_and_misshapen_keys_are_all_listed() -> None:
    tensors = {"a.weight": torch.zeros(3, 4), "a.surplus": torch.zeros(1)}
    with pytest.raises(CheckpointMismatch) as caught:
        load_strict({"a.": linear()}, tensors, "here")
    for word in ("1 missing (a.bias)", "1 unexpected (a.surplus)", "a.weight is [3, 4], wanted [3, 2]", "here"):
        assert word in caught.value.message


def test_a_long_list_of_keys_is_cut_and_counted() -> None:
    tensors = {f"surplus{index}": torch.zeros(1) for index in range(100)}
    with pytest.raises(CheckpointMismatch, match="and 80 more"):
        load_strict({}, tensors, "here")


def test_stored_rotary_frequencies_are_recomputed_and_not_demanded() -> None:
    module = linear()
    tensors = {"weight": torch.ones(3, 2).half(), "bias": torch.ones(3), "layer.inv_freq": torch.zeros(16)}
    load_strict({"": module}, tensors, "here")
    assert module.weight.dtype == torch.float32 and not module.weight.requires_grad and not module.training


def test_shards_read_like_one_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    assert sorted(read_tensors(tmp_path)) == ["a", "b"]


def test_a_lacking_shard_is_named(tmp_path: Path) -> None:
    save_file({"b": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointMissing, match="lacks a shard"):
        read_tensors(tmp_path)


def test_an_empty_folder_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=str(tmp_path)):
        read_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(CheckpointMismatch, match="not a readable safetensors file"):
        read_tensors(tmp_path)


def test_published_rotary_frequencies_equal_ours() -> None:
    from sa3_daw.models.layers import rope_inv_freq

    stored = load_file(GOLDEN / "dit_small.weights.safetensors")["model.transformer.rotary_pos_emb.inv_freq"]
    torch.testing.assert_close(rope_inv_freq(2 * len(stored)), stored)


def test_a_module_built_without_weights_needs_no_arithmetic_of_the_meta_device() -> None:
    code = (
        "import sys; from sa3_daw.checkpoint import build; from sa3_daw.models.dit import DiT; "
        "from sa3_daw.models.same import Same; from benchmarks.sizes import SMALL_DIT, SMALL_SAME; "
        "from sa3_daw.models.conditioner import PaddedPrompt; "
        "[build(make) for make in (lambda: DiT(SMALL_DIT), lambda: Same(SMALL_SAME), lambda: PaddedPrompt(8))]; "
        "assert not {'sympy', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=GOLDEN.parent.parent)
