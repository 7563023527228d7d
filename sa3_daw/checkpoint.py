"""Strict loading of safetensors checkpoints into modules. Knows key names and files, nothing of audio or sampling.

A model folder holds ``model.safetensors`` or shards ``model-00001-of-0000N.safetensors``. Modules carry the
published key names, so a state dict is the checkpoint. Every key must be used and every shape must fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sa3_daw.adapter_files import PICKLES, AdapterEntry
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing
from sa3_daw.models.lora import Adapter
from sa3_daw.tensor_files import TensorFile

ROTARY_BUFFER = ".inv_freq"
"""Published files store these; we recompute them in float32, which half precision cannot hold."""

LISTED_KEYS = 20

SHARD_NAME = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Map every tensor of a model folder, after every header was found sound; nothing is copied.

    The tensors are views of the files: pages are read when they are first used, and shared with other processes.
    Raises CheckpointMissing or CheckpointMismatch, naming the file and what is wrong with it.
    """
    tensors: dict[str, Tensor] = {}
    for file in open_weights(directory):
        try:
            tensors |= load_file(file.path)
        except (SafetensorError, OSError) as error:
            raise CheckpointMismatch(f"{file.path} is not a readable safetensors file: {error}") from error
    return tensors


def open_weights(directory: Path) -> list[TensorFile]:
    """Check the headers of a model folder's weights, one file or all its shards."""
    whole = directory / "model.safetensors"
    paths = [whole] if whole.exists() else sorted(directory.glob("model-*-of-*.safetensors"))
    if not paths:
        pickles = [path.name for suffix in PICKLES for path in directory.glob("*" + suffix)]
        instead = f", only {', '.join(pickles)}; pickles are never opened" if pickles else ""
        raise CheckpointMissing(f"{directory} holds no model.safetensors and no shards{instead}", value=str(directory))
    for number, path in enumerate(paths, start=1):
        match = SHARD_NAME.fullmatch(path.name)
        if match and (int(match[1]) != number or int(match[2]) != len(paths)):
            raise CheckpointMissing(f"{directory} lacks a shard: found {[p.name for p in paths]}")
    return [TensorFile.open(path) for path in paths]


def read_adapter(entry: AdapterEntry) -> Adapter:
    """Read the values of the adapter that ``entry`` describes. Raises CheckpointMismatch, naming the file."""
    try:
        return Adapter.from_tensors(load_file(entry.tensors_path), entry)
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(f"{entry.tensors_path} is not a readable safetensors file: {error}") from error


def build(factory: Callable[[], AnyModule]) -> AnyModule:
    """Construct a module without allocating or initialising its weights; ``load_strict`` brings them."""
    with torch.device("meta"):
        return factory()


def load_strict(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], source: str) -> None:
    """Load ``tensors`` into the modules, each under its key prefix, as float32; float32 ones are not copied.

    Raises CheckpointMismatch listing every missing, unexpected, misshapen and mistyped key; nothing is loaded then.
    """
    wanted = {prefix + key: tensor for prefix, module in modules.items() for key, tensor in module.state_dict().items()}
    found = {key: tensor for key, tensor in tensors.items() if not key.endswith(ROTARY_BUFFER)}
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{key} is {list(found[key].shape)}, wanted {list(tensor.shape)}"
        for key, tensor in sorted(wanted.items())
        if key in found and found[key].shape != tensor.shape
    ]
    mistyped = [
        f"{key} is {found[key].dtype}, wanted a floating type"
        for key in sorted(wanted.keys() & found.keys())
        if not found[key].is_floating_point()
    ]
    if missing or unexpected or misshapen or mistyped:
        raise CheckpointMismatch(
            f"{source} does not fit its config: "
            + "; ".join(
                f"{len(keys)} {what} ({_listed(keys)})"
                for what, keys in (
                    ("missing", missing),
                    ("unexpected", unexpected),
                    ("misshapen", misshapen),
                    ("mistyped", mistyped),
                )
                if keys
            ),
            value=source,
        )
    for prefix, module in modules.items():
        state = {key: found[prefix + key].float() for key in module.state_dict()}
        module.load_state_dict(state, strict=True, assign=True)
        module.requires_grad_(False).eval()


def _listed(keys: list[str]) -> str:
    rest = len(keys) - LISTED_KEYS
    return ", ".join(keys[:LISTED_KEYS]) + (f", and {rest} more" if rest > 0 else "")
