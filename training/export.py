"""Trained parts -> a model folder in the published layout, as float16 shards. Knows no training loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from sa3_daw.generation.model import CONDITIONER_PREFIX, DIT_PREFIX, SAME_PREFIX
from sa3_training.vendor_text_encoder import save_shards

FULL_PRECISION_ELEMENTS = 4096
"""Tensors up to this size (norms, biases, scales) stay float32; they cost nothing and matter."""


def export(config: dict[str, Any], denoiser: dict[str, Tensor], same: dict[str, Tensor], folder: Path) -> None:
    """Write ``model_config.json`` and shards from a Denoiser's and a Same's state."""
    prefixes = {"dit.": DIT_PREFIX, "conditioner.": CONDITIONER_PREFIX}
    tensors = {prefixes[key.split(".", 1)[0] + "."] + key.split(".", 1)[1]: tensor for key, tensor in denoiser.items()}
    tensors |= {SAME_PREFIX + key: tensor for key, tensor in same.items()}
    stored = {
        key: tensor.float() if tensor.numel() <= FULL_PRECISION_ELEMENTS else tensor.half()
        for key, tensor in tensors.items()
    }
    save_shards(stored, folder)
    (folder / "model_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
