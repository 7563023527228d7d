"""Which files hold a model's weights: ``model.safetensors``, or all shards ``model-00001-of-0000N.safetensors``.

Knows their headers, no tensor and no model.
"""

from __future__ import annotations

import re
from pathlib import Path

from sa3_daw.adapter_files import PICKLES
from sa3_daw.errors import CheckpointMissing
from sa3_daw.tensor_files import TensorFile

SHARD_NAME = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")


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
