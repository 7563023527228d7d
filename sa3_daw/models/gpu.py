"""What a GPU needs beyond tensors that lie on it: exact arithmetic, noise on its way, a host that keeps step.

Knows no model and no job. On other devices nothing here does anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

STEPS_AHEAD = 2
"""So many steps wait in a GPU's queue while the host prepares the next: enough that the GPU never waits."""

Step = TypeVar("Step")


def compute_exactly() -> None:
    """Let float32 mean float32 on NVIDIA GPUs, and equal calls give equal bytes.

    Left alone, torch lets convolutions round their inputs to 10 bits and add up in any order.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def is_lost(device: str) -> bool:
    """Say whether a GPU refuses everything that this process still asks of it, as after a fault in a kernel."""
    if device != "cuda":
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on ``device``, without waiting for what a GPU still does."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def paced(steps: Iterator[Step], device: torch.device) -> Iterator[Step]:
    """Yield steps as they are queued, the host at most STEPS_AHEAD ahead: progress is true, a cancel comes in time."""
    places: deque[torch.cuda.Event] = deque()
    for step in steps:
        if device.type == "cuda":
            places.append(place_in_queue())
            if len(places) > STEPS_AHEAD:
                places.popleft().synchronize()
        yield step


def place_in_queue() -> torch.cuda.Event:
    """Return an event that comes when the GPU has done all that is queued now."""
    # Whoever waits for it sleeps: a spinning thread would take a core from the DAW.
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
