"""Audio -> latents in the published pre-encoded format, kept for the next run. Knows no adapter and no loop.

A folder of pairs ``<id>.npy`` (float32 [D, T]) and ``<id>.json``, and ``silence.npy``; our own facts (tempo, where
the first beat lies) stand under "sa3_daw" in the JSON. Source: SPEC 8.8.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from sa3_daw.errors import invalid
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec
from sa3_training.checkpoints import replace_bytes, replace_file, require_disk
from sa3_training.data.folder import Fault, Sound, audio_files, in_words, seconds_of

SILENCE_FILE = "silence.npy"
SILENCE_FRAMES = 64
CORPUS_RMS, CORPUS_PEAK = 0.12, 0.98
"""Nano's corpus has one level; a file that is quieter or louder would teach it a level instead of a sound."""

FORMAT = 3
"""Raised when older caches must not be used."""


@dataclass(frozen=True)
class Beats:
    """A steady tempo and the second, from the file's start, at which a bar starts."""

    bpm: float
    bar_seconds: float
    numerator: int = 4
    denominator: int = 4


@dataclass(frozen=True)
class Item:
    """One encoded stretch of a source file.

    ``latents`` [D, T], ``valid`` of whose frames hold sound. ``lead_frames`` of silence stand before a file's start in
    models whose generation has them too. ``seconds_start`` is where the stretch starts in the file.
    """

    latents: NDArray[np.float32]
    valid: int
    caption: str
    name: str
    seconds_start: float
    seconds_total: float
    lead_frames: int
    beats: Beats | None


def item_frames(spec: ModelSpec) -> int:
    """Return the frames of one stretch: two minutes, or as much as the model can make at once."""
    longest = min(spec.max_num_samples, 120 * spec.sample_rate) // spec.samples_per_frame
    return longest // spec.same.frame_alignment * spec.same.frame_alignment


def lead_frames(spec: ModelSpec) -> int:
    """Return the frames of silence that generation leaves before a clip."""
    return spec.same.frame_alignment if spec.same.decoder.lapped else 0


def encoder_key(same: Same) -> str:
    """Return a name for an encoder's weights, made of the first numbers of each: training changes them all."""
    digest = hashlib.sha256()
    for part in (same.encoder, same.bottleneck):
        for name, tensor in part.state_dict().items():
            digest.update(name.encode() + tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:20]


def cache_key(source: Sound, caption: str, beats: Beats | None, spec: ModelSpec, encoder: str) -> str:
    """Return a name for the encoding of these bytes by this encoder."""
    told = f"{FORMAT} {spec.name} {spec.same} {encoder} {source.num_samples} {caption} {beats}"
    digest = hashlib.sha256(told.encode())
    for block in source.blocks():
        digest.update(block)
    return digest.hexdigest()[:20]


def encode_folder(
    sources: Sequence[tuple[Sound, str, Beats | None]],
    same: Same,
    spec: ModelSpec,
    folder: Path,
    tell: Callable[[str], None],
) -> list[Item]:
    """Encode every source, or read it from ``folder`` when it is there unchanged.

    ``sources`` are files with caption and tempo. Raises DiskFull before anything is encoded.
    """
    seconds = seconds_of(source for source, _, _ in sources)
    frames = seconds * spec.sample_rate / spec.samples_per_frame + item_frames(spec)
    require_disk(folder, int(4 * spec.dit.latent_dim * frames), "the encoded audio")
    index, encoder = _read_index(folder), encoder_key(same)
    silence = f"silence {encoder}"
    if silence not in index:
        write_silence(same, spec, folder)
        index = {key: names for key, names in index.items() if names} | {silence: []}
        _write_json(folder / "index.json", index)
    items: list[Item] = []
    for number, (source, caption, beats) in enumerate(sources):
        key = cache_key(source, caption, beats, spec, encoder)
        names = index.get(key)
        if names is None:
            names = _encode_source(source, caption, beats, same, spec, folder, _next_batch(index))
            index[key] = names
            _write_json(folder / "index.json", index)
            tell(f"encoded {source.name} ({number + 1} of {len(sources)})")
        items += [read_item(folder, name) for name in names]
    return items


def read_item(folder: Path, name: str) -> Item:
    """Read one pair; pairs that another program pre-encoded need not have our own facts."""
    entry = json.loads((folder / f"{name}.json").read_text("utf-8"))
    own = entry.get("sa3_daw", {})
    latents = np.load(folder / f"{name}.npy")
    return Item(
        latents=latents,
        valid=min(int(sum(entry["padding_mask"])), latents.shape[1]),
        caption=entry["prompt"],
        name=entry["relpath"],
        seconds_start=entry["seconds_start"],
        seconds_total=entry["seconds_total"],
        lead_frames=own.get("lead_frames", 0),
        beats=Beats(**own["beats"]) if own.get("beats") else None,
    )


def holds_latents(folder: Path) -> bool:
    """Say whether a folder holds pre-encoded pairs and no audio."""
    return any(folder.rglob("*.npy")) and not any(audio_files(folder))


def read_encoded(folder: Path, spec: ModelSpec) -> tuple[list[Item], list[Fault]]:
    """Return every pair of a pre-encoded folder, in order, and what is wrong with the others.

    Raises InvalidField, listing every fault, when none is left.
    """
    items: list[Item] = []
    faults: list[Fault] = []
    for path in sorted(folder.rglob("*.npy")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.name == SILENCE_FILE:
            continue
        try:
            item = read_item(folder, name)
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(Fault(path.name, f"cannot be read: {error!r}", True))
            continue
        if item.latents.ndim != 2 or len(item.latents) != spec.dit.latent_dim:
            what = f"has latents of shape {list(item.latents.shape)}; {spec.name} has {spec.dit.latent_dim} channels"
            faults.append(Fault(path.name, what, True))
        elif not item.valid or not np.isfinite(item.latents).all():
            faults.append(Fault(path.name, "holds no sound, or NaN or infinity", True))
        else:
            items.append(item)
    if not items:
        listed = "; ".join(in_words(faults))
        raise invalid("data", str(folder), f"a folder with latents that {spec.name} can be trained on ({listed})")
    return items, faults


@torch.inference_mode()
def write_silence(same: Same, spec: ModelSpec, folder: Path) -> None:
    """Write the encoding of digital silence, which short items are padded with."""
    silent = torch.zeros(1, 2, SILENCE_FRAMES * spec.samples_per_frame)
    latents = same.encode(silent.to(_device(same))).float().cpu().numpy()
    replace_file(folder / SILENCE_FILE, lambda file: np.save(file, latents))


def _encode_source(
    source: Sound, caption: str, beats: Beats | None, same: Same, spec: ModelSpec, folder: Path, batch: int
) -> list[str]:
    frame, rate = spec.samples_per_frame, source.sample_rate
    lead = lead_frames(spec)
    body = (item_frames(spec) - lead) * frame
    step = math.ceil(body * rate / spec.sample_rate)
    started = time.perf_counter()
    gain = corpus_gain(source) if lead else 1.0
    names: list[str] = []
    for start in range(0, source.num_samples, step):
        length = min(step, source.num_samples - start)
        if names and length < rate // 2:
            break  # the last half second of a long file is no piece of music
        audio = gain * model_rate(source.read(start, length), rate, spec.sample_rate)[:, :body]
        latents = _encode(audio, lead if start == 0 else 0, same, spec)
        valid = -(-audio.shape[1] // frame) + (lead if start == 0 else 0)
        valid = min(valid, latents.shape[1])
        name = f"{batch:06d}{len(names):04d}"
        entry = {
            "prompt": caption,
            "path": str(source.path),
            "relpath": source.name,
            "timestamps": [start / rate, (start + length) / rate],
            "seconds_start": start / rate,
            "seconds_total": math.ceil(seconds_of([source])),
            "padding_mask": [1] * valid + [0] * (latents.shape[1] - valid),
            "sample_rate": spec.sample_rate,
            "load_time": round(time.perf_counter() - started, 3),
            "sa3_daw": {"lead_frames": lead if start == 0 else 0, "beats": vars(beats) if beats else None},
        }
        replace_file(folder / f"{name}.npy", lambda file, latents=latents: np.save(file, latents))
        _write_json(folder / f"{name}.json", entry)
        names.append(name)
    return names


def corpus_gain(source: Sound) -> np.float32:
    """Return the gain that brings a file to the level of nano's corpus, as far as its peak allows."""
    audio = source.read(0, source.num_samples)
    level, peak = float(np.sqrt(np.square(audio).mean())), float(np.abs(audio).max())
    return np.float32(min(CORPUS_RMS / max(level, 1e-6), CORPUS_PEAK / max(peak, 1e-6)))


def model_rate(audio_CS: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return audio [2, n] at the model's rate."""
    if rate == wanted:
        return audio_CS
    return np.ascontiguousarray(soxr.resample(audio_CS.T, rate, wanted, quality="VHQ").T, dtype=np.float32)


@torch.inference_mode()
def _encode(audio_CS: NDArray[np.float32], lead: int, same: Same, spec: ModelSpec) -> NDArray[np.float32]:
    audio = torch.from_numpy(audio_CS).clamp(-1, 1)[None]
    audio = torch.nn.functional.pad(audio, (lead * spec.samples_per_frame, 0))
    return same.encode(audio.to(_device(same)))[0].float().cpu().numpy()


def _device(same: Same) -> torch.device:
    return same.bottleneck.running_std.device


def _read_index(folder: Path) -> dict[str, list[str]]:
    path = folder / "index.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _next_batch(index: dict[str, list[str]]) -> int:
    return 1 + max((int(name[:6]) for names in index.values() for name in names), default=-1)


def _write_json(path: Path, content: Any) -> None:
    replace_bytes(path, json.dumps(content).encode())
