"""Notes of a clip by Spotify's basic-pitch, from the ONNX file in its package. For evaluation only, never shipped.

Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription", 2022 (Apache-2.0). Runs
with onnxruntime; the package's own code, which needs TensorFlow, is not imported. Knows no model of ours.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

HINT = "basic-pitch is not installed; run 'pip install onnxruntime' and 'pip install --no-deps basic-pitch==0.4.0'"
RATE, HOP_SAMPLES = 22_050, 256
WINDOW_SAMPLES = 2 * RATE - HOP_SAMPLES
OVERLAP_FRAMES = 30
FRAMES_PER_SECOND = RATE / HOP_SAMPLES
LOWEST_PITCH = 21
"""MIDI number of the first of its 88 notes."""

INPUT, NOTES = "serving_default_input_2:0", "StatefulPartitionedCall:1"


def note_strengths(audio_CS: Tensor, sample_rate: int) -> Tensor:
    """Return how surely each of 88 notes sounds in each frame, [frames, 88], 0 to 1.

    Two-second windows overlap by OVERLAP_FRAMES, of which either window gives its better half.
    Raises ModuleNotFoundError, with what mends it.
    """
    mono = soxr.resample(audio_CS.mean(0).numpy(), sample_rate, RATE).astype(np.float32)
    half = OVERLAP_FRAMES // 2
    padded = np.pad(mono, (half * HOP_SAMPLES, WINDOW_SAMPLES))
    step = WINDOW_SAMPLES - OVERLAP_FRAMES * HOP_SAMPLES
    windows = [padded[start : start + WINDOW_SAMPLES] for start in range(0, len(mono), step)]
    found = _session().run([NOTES], {INPUT: np.stack(windows)[..., None]})[0]
    return torch.from_numpy(found[:, half:-half].reshape(-1, found.shape[-1])[: len(mono) // HOP_SAMPLES])


@cache
def _session() -> Any:
    spec = find_spec("basic_pitch")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(HINT) from error
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(HINT)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = torch.get_num_threads()
    path = Path(spec.origin).parent / "saved_models" / "icassp_2022" / "nmp.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
