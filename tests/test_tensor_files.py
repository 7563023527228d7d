"""Whatever bytes a file holds, its header is understood as safetensors understands it or refused with a reason."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sa3_daw.adapter_files import describe_adapter
from sa3_daw.errors import CheckpointMismatch, ModelError, RequestError
from sa3_daw.tensor_files import TensorFile

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["a", "b.lora_A", "__metadata__", "x.parametrizations.weight.0.lora_A"]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "I64", "Z9"]) | VALUES,
            "shape": st.lists(st.integers(-2, 4), max_size=3) | VALUES,
            "data_offsets": st.tuples(st.integers(-4, 40), st.integers(-4, 40)) | VALUES,
        }
    )
    | VALUES,
    max_size=3,
)


def test_what_safetensors_writes_is_read_with_the_same_shapes_and_bytes(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2, 3),
        "empty": torch.zeros(1, 0, 1),
        "half": torch.ones(5).half(),
        "scalar": torch.ones(()),
    }
    save_file(tensors, tmp_path / "t.safetensors", {"made": "here"})
    file = TensorFile.open(tmp_path / "t.safetensors")
    assert {key: info.shape for key, info in file.tensors.items()} == {k: tuple(t.shape) for k, t in tensors.items()}
    assert file.metadata == {"made": "here"} and file.num_bytes == (tmp_path / "t.safetensors").stat().st_size
    content = (tmp_path / "t.safetensors").read_bytes()
    info = file.tensors["a"]
    assert content[info.start_byte : info.end_byte] == tensors["a"].numpy().tobytes()


@QUICK
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_reason(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointMismatch):
        describe_adapter(path)


@QUICK
@given(entries=ENTRIES, payload=st.integers(0, 48))
def test_any_header_is_refused_or_understood_as_safetensors_does(
    entries: dict[str, Any], payload: int, tmp_path: Path
) -> None:
    text = json.dumps(entries).encode()
    path = tmp_path / "any.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(payload))
    try:
        file = TensorFile.open(path)
    except ModelError:
        return
    try:
        shapes = {key: tuple(tensor.shape) for key, tensor in load_file(path).items()}
    except SafetensorError:
        return
    assert {key: info.shape for key, info in file.tensors.items()} == shapes


@QUICK
@given(config=VALUES | st.dictionaries(st.sampled_from(["rank", "alpha", "adapter_type", "base_model"]), VALUES))
def test_any_lora_config_is_refused_or_gives_a_rank(config: object, tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    save_file({"model.x.parametrizations.weight.0.lora_A": torch.ones(2, 3)}, path, {"lora_config": json.dumps(config)})
    with suppress(ModelError, RequestError):
        assert describe_adapter(path).rank >= 1
