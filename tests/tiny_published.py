"""A whole model in the published layout, small enough for every test: golden weights and a random T5Gemma."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.tiny_t5gemma import write_t5gemma

GOLDEN = Path(__file__).parent / "golden"


def write_tiny_model(folder: Path, repository: str = "stabilityai/stable-audio-3-small-music") -> Path:
    """Write the folder as a download of ``repository`` would lie; 320 Hz, 32 samples a frame, 24 channels of text."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((GOLDEN / "generate_small.config.json").read_text())
    config["model"]["conditioning"]["configs"][0]["config"] |= {"repo_id": repository, "subfolder": "t5gemma-b-b-ul2"}
    (folder / "model_config.json").write_text(json.dumps(config))
    shutil.copyfile(GOLDEN / "generate_small.weights.safetensors", folder / "model.safetensors")
    write_t5gemma(folder / "t5gemma-b-b-ul2")
    return folder
