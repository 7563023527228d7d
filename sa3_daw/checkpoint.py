"""Strict loading of safetensors checkpoints into modules. Knows key names and files, nothing of audio or sampling.

A model folder holds ``model.safetensors`` or shards ``model-00001-of-0000N.safetensors``. Modules carry the
published key names, so a state dict is the checkpoint. Every key must be used and every shape must fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from sa3_daw.errors import CheckpointMismatch, CheckpointMissing

ROTARY_BUFFER = ".inv_freq"
"""Published files store these; we recompute them in float32, which half precision cannot hold."""

LISTED_KEYS = 20

SHARD_NAME = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Read every tensor of a model folder. Raises CheckpointMissing or CheckpointMismatch, naming the file."""
    whole = directory / "model.safetensors"
    paths = [whole] if whole.exists() else sorted(directory.glob("model-*-of-*.safetensors"))
    if not paths:
        raise CheckpointMissing(f"{directory} holds no model.safetensors and no shards", value=str(directory))
    for number, path in enumerate(paths, start=1):
        match = SHARD_NAME.fullmatch(path.name)
        if match and (int(match[1]) != number or int(match[2]) != len(paths)):
            raise CheckpointMissing(f"{directory} lacks a shard: found {[p.name for p in paths]}")
    tensors: dict[str, Tensor] = {}
    for path in paths:
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointMismatch(f"{path} is not a readable safetensors file: {error}") from error
    return tensors


def read_adapter_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read an adapter file's tensors and its ``lora_config``; pickles are never opened.

    Raises CheckpointMissing or CheckpointMismatch, naming the file.
    """
    if not path.exists():
        raise CheckpointMissing(f"{path} does not exist", value=str(path))
    try:
        with safe_open(path, "pt") as file:
            config: dict[str, object] = json.loads((file.metadata() or {}).get("lora_config", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointMismatch(f"{path} is not a readable safetensors adapter: {error}") from error
    return tensors, config


def build(factory: Callable[[], AnyModule]) -> AnyModule:
    """Construct a module without allocating or initialising its weights; ``load_strict`` brings them."""
    with torch.device("meta"):
        return factory()


def load_strict(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], source: str) -> None:
    """Load ``tensors`` into the modules, each under its key prefix, as float32.

    Raises CheckpointMismatch listing every missing, unexpected and misshapen key; nothing is loaded then.
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
    if missing or unexpected or misshapen:
        raise CheckpointMismatch(
            f"{source} does not fit its config: "
            + "; ".join(
                f"{len(keys)} {what} ({_listed(keys)})"
                for what, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
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
