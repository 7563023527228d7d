"""LoRA adapters on disk: which are installed, what their headers say, how their keys read. Knows no tensor values.

An adapter is ``NAME.safetensors`` in the published format, or a folder NAME as PEFT writes it
(``adapter_config.json`` and ``adapter_model.safetensors``). Pickles are never opened. Source: SPEC 7.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from sa3_daw.errors import CheckpointMismatch, ModelError, RequestError, Unsupported, invalid, shorten
from sa3_daw.tensor_files import TensorFile, TensorInfo

KINDS = ("lora", "dora-rows", "dora-cols", "bora")
XS_SUFFIX = "-xs"
KEY_INFIX = ".parametrizations.weight."
RANK_AXIS = {"lora_A": 0, "lora_B": 1, "M_xs": 0}
"""Which axis of a parameter is as long as the rank."""

SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
PEFT_CONFIG, PEFT_TENSORS, PEFT_PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
PEFT_PARAMETERS = {"lora_A": "lora_A", "lora_B": "lora_B", "lora_magnitude_vector": "magnitude"}
PEFT_UNBUILT = ("fan_in_fan_out", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "megatron_config")
ROOTS = ("model.", "conditioners.")
"""Module paths begin with one of these: the DiT, the conditioner."""


@dataclass(frozen=True)
class AdapterEntry:
    """One adapter as its header describes it. ``base_model`` is what it was trained on; often empty."""

    name: str
    path: Path
    base_model: str
    kind: str
    rank: int
    alpha: float
    num_layers: int

    @property
    def tensors_path(self) -> Path:
        """The file that holds the values."""
        return self.path / PEFT_TENSORS if self.path.is_dir() else self.path


def list_adapters(adapters_dir: Path) -> list[AdapterEntry]:
    """Return every adapter whose header can be read, by name."""
    entries = []
    for path in sorted(adapters_dir.iterdir()) if adapters_dir.is_dir() else ():
        if path.suffix == SUFFIX or (path / PEFT_CONFIG).is_file():
            try:
                entries.append(describe_adapter(path))
            except (ModelError, RequestError):
                continue  # find_adapter, asked for it by name, says what is wrong with it
    return entries


def find_adapter(name: str, adapters_dir: Path) -> AdapterEntry:
    """Return an adapter by name. Raises InvalidField, listing those that exist, or what is wrong with its file."""
    if name and Path(name).name == name and not name.startswith("."):
        paths = [adapters_dir / (name + suffix) for suffix in (SUFFIX, "", *PICKLES)]
        for path in paths:
            if path.is_file() or (path / PEFT_CONFIG).is_file():
                return describe_adapter(path)
    known = ", ".join(entry.name for entry in list_adapters(adapters_dir))
    raise invalid("adapters.name", name, known or f"none is installed in {adapters_dir}; see sa3-daw lora import")


def describe_adapter(path: Path) -> AdapterEntry:
    """Read the header of a file or PEFT folder. Raises CheckpointMissing, CheckpointMismatch or Unsupported."""
    if path.suffix in PICKLES:
        raise CheckpointMismatch(
            f"{path} is a pickle, which could run any program and is never opened; convert it to .safetensors",
            value=str(path),
        )
    file = TensorFile.open(path / PEFT_TENSORS if path.is_dir() else path)
    config = _peft_config(path / PEFT_CONFIG) if path.is_dir() else _published_config(file)
    shapes = adapter_shapes(file.tensors, str(path))
    kind = _kind(config.get("adapter_type"), shapes)
    if kind.removesuffix(XS_SUFFIX) not in KINDS:
        raise CheckpointMismatch(
            f"{path} has adapter_type {shorten(kind)}; known: {', '.join(KINDS)}, with or without -xs", value=str(path)
        )
    try:
        rank = int(config.get("rank") or _rank(shapes))
        alpha = float(config.get("alpha") or rank)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointMismatch(f"{path} has no usable rank or alpha: {error}", value=str(path)) from error
    if rank < 1 or not isfinite(alpha):
        raise CheckpointMismatch(f"{path} has rank {rank} and alpha {alpha}, which no adapter has", value=str(path))
    name = path.name.removesuffix(SUFFIX)
    return AdapterEntry(name, path, str(config.get("base_model") or ""), kind, rank, alpha, len(shapes))


def adapter_shapes(tensors: Mapping[str, TensorInfo], source: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {module path: {parameter: shape}}. Raises CheckpointMismatch when empty or when a key is not known."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, info in tensors.items():
        path, parameter = split_key(key, source)
        shapes.setdefault(path, {})[parameter] = info.shape
    if not shapes:
        raise CheckpointMismatch(f"{source} adapts no layer", value=source)
    return shapes


def split_key(key: str, source: str) -> tuple[str, str]:
    """Return the module path and the parameter that a published or PEFT key names. Raises CheckpointMismatch."""
    path, published, rest = key.partition(KEY_INFIX)
    if published and "." in rest:
        return path, rest.split(".", 1)[1]
    stem = key.removeprefix(PEFT_PREFIX).removesuffix(".weight")
    path, _, parameter = stem.rpartition(".")
    if key.startswith(PEFT_PREFIX) and parameter in PEFT_PARAMETERS:
        return path if path.startswith(ROOTS) else ROOTS[0] + path, PEFT_PARAMETERS[parameter]
    raise CheckpointMismatch(f"{source} is no adapter: unexpected key {shorten(key)}", value=source)


def _published_config(file: TensorFile) -> dict[str, Any]:
    try:
        config = json.loads(file.metadata.get("lora_config", "{}"))
    except ValueError as error:
        raise CheckpointMismatch(f"{file.path} has a lora_config that is not JSON", value=str(file.path)) from error
    if not isinstance(config, dict):
        raise CheckpointMismatch(f"{file.path} has a lora_config that is not a table", value=str(file.path))
    return {"base_model": file.metadata.get("base_model"), **config}


def _peft_config(path: Path) -> dict[str, Any]:
    """Return a PEFT config in the words of the published one. Raises Unsupported, naming an option we do not build."""
    try:
        peft = json.loads(path.read_text("utf-8"))
        rank, alpha = int(peft["r"]), float(peft["lora_alpha"])
        used = [option for option in PEFT_UNBUILT if peft.get(option)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointMismatch(f"{path} is not a PEFT adapter config: {error}", value=str(path)) from error
    if peft.get("peft_type") != "LORA" or used or peft.get("bias", "none") != "none":
        raise Unsupported(f"{path} asks for {used or peft.get('peft_type')}; only plain PEFT LoRA and DoRA are read")
    return {
        "rank": rank,
        "alpha": alpha * rank**0.5 if peft.get("use_rslora") else alpha,
        "adapter_type": "dora-rows" if peft.get("use_dora") else "lora",
        "base_model": peft.get("base_model_name_or_path"),
    }


def _kind(named: object, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    """An old "dora" file means rows or columns by the orientation of a two-dimensional magnitude."""
    if named != "dora":
        return str(named or "lora")
    magnitudes = [layer["magnitude"] for layer in shapes.values() if len(layer.get("magnitude", ())) == 2]
    return "dora-cols" if any(shape[0] == 1 for shape in magnitudes) else "dora-rows"


def _rank(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> int:
    for layer in shapes.values():
        for name, axis in RANK_AXIS.items():
            if len(layer.get(name, ())) >= 2:
                return layer[name][axis]
    return 0
