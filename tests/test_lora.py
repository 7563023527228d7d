"""Adapters: base weights survive, switching by noise level, refusal of what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sa3_daw.checkpoint import read_adapter_tensors
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing
from sa3_daw.models.lora import Adapter, AdapterStack, Use


def read_adapter(path: Path) -> Adapter:
    return Adapter.from_tensors(*read_adapter_tensors(path), str(path))


def adapter(kind: str = "lora", scale: float = 1.0) -> Adapter:
    torch.manual_seed(0)
    layer = {"lora_A": torch.randn(2, 6), "lora_B": scale * torch.randn(4, 2)}
    if kind != "lora":
        layer["magnitude"] = torch.ones(4)
    return Adapter(kind, 2, 2.0, {"model.proj": layer})


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.ModuleDict({"proj": nn.Linear(6, 4)})


def test_removal_restores_the_base_weights_bit_for_bit() -> None:
    root = model()
    before = root.get_parameter("proj.weight").detach().clone()
    stack = AdapterStack({"model.": root}, [Use(adapter()), Use(adapter("dora-rows"), strength=0.3)])
    stack.switch_to(0.5)
    assert not torch.equal(root.get_parameter("proj.weight"), before)
    stack.remove()
    assert torch.equal(root.get_parameter("proj.weight"), before)


def test_an_interval_switches_the_weights_with_the_noise_level() -> None:
    root = model()
    before = root.get_parameter("proj.weight").detach().clone()
    stack = AdapterStack({"model.": root}, [Use(adapter(), interval=(0.4, 1.0))])
    stack.switch_to(0.39)
    assert torch.equal(root.get_parameter("proj.weight"), before)
    stack.switch_to(0.4)
    assert not torch.equal(root.get_parameter("proj.weight"), before)


def test_strength_scales_a_plain_adapter_linearly() -> None:
    weights = []
    for strength in (0.0, 1.0, 2.0):
        root = model()
        AdapterStack({"model.": root}, [Use(adapter(), strength=strength)]).switch_to(0.5)
        weights.append(root.get_parameter("proj.weight"))
    torch.testing.assert_close(weights[2] - weights[0], 2 * (weights[1] - weights[0]))


def test_a_layer_the_model_lacks_is_named() -> None:
    with pytest.raises(CheckpointMismatch, match=r"model\.proj"):
        AdapterStack({"model.": nn.ModuleDict({"other": nn.Linear(6, 4)})}, [Use(adapter())])
    with pytest.raises(CheckpointMismatch, match=r"model\.proj"):
        AdapterStack({"model.": nn.ModuleDict({"proj": nn.Linear(5, 4)})}, [Use(adapter())])


def test_empty_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing):
        read_adapter(tmp_path / "none.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointMismatch, match="unexpected key weight"):
        read_adapter(tmp_path / "foreign.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(CheckpointMismatch, match="adapts no layer"):
        read_adapter(tmp_path / "empty.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95")
    with pytest.raises(CheckpointMismatch, match="not a readable"):
        read_adapter(tmp_path / "pickle.safetensors")
