"""Audio put where the engine finds sources, and a run drained into arrays. Knows no daemon."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_daw.blobs import audio_path
from sa3_daw.generation.events import AudioChunk, Event, Finished, Progress, TakeMade

Audio = NDArray[np.float32]


def put(data_dir: Path, samples_CS: Audio) -> str:
    """Store audio as the daemon does and return its address."""
    payload = np.ascontiguousarray(samples_CS, dtype="<f4").tobytes()
    address = hashlib.sha256(payload).hexdigest()
    path = audio_path(data_dir, address)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload)
    return address


@dataclass
class Drained:
    """Everything a run yielded; ``takes`` in order, audio by variation, in-order chunks checked."""

    audio: dict[int, Audio] = field(default_factory=dict)
    drafts: dict[int, Audio] = field(default_factory=dict)
    takes: list[TakeMade] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    finished: Finished | None = None


def drain(events: Iterable[Event]) -> Drained:
    """Collect a run, checking that each variation's chunks follow one another without a gap."""
    found = Drained()
    nothing = np.zeros((2, 0), dtype=np.float32)
    for event in events:
        if isinstance(event, AudioChunk):
            kind = found.drafts if event.draft else found.audio
            before = kind.get(event.variation, nothing)
            assert event.start_sample == before.shape[1] and event.samples.dtype == np.float32
            kind[event.variation] = np.concatenate((before, event.samples), axis=1)
        elif isinstance(event, TakeMade):
            found.takes.append(event)
        elif isinstance(event, Progress):
            found.progress.append((event.stage, event.step, event.num_steps))
        else:
            found.finished = event
    return found


def kept(samples_CS: Audio, take: TakeMade) -> Audio:
    """Return the samples outside a take's changed ranges."""
    outside = np.ones(samples_CS.shape[1], dtype=bool)
    for region in take.changed:
        outside[region.start_sample : region.end_sample] = False
    return samples_CS[:, outside]
