"""Encoded items -> training batches: crops, padding, captions, beat grids. Knows no adapter and no loop.

Shapes: B batch, D latent channels, T frames, L text tokens, G beat-grid channels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.generation.beat_grid import beat_grid
from sa3_daw.generation.model import TextEncoder
from sa3_daw.models.specs import ModelSpec
from sa3_daw.music.timeline import TempoMap
from sa3_training.data.latents import SILENCE_FILE, Item
from sa3_training.flow.denoiser import Batch

TRIGGER_ALONE = 0.2
"""How often an item is told by the trigger word alone, so that the word by itself calls the style."""

ITEMS_PER_TEXT_CALL = 32


@dataclass(frozen=True)
class Texts:
    """Encoded captions: states [N, L, D] float16, masks [N, L], and the row of every text."""

    states: Tensor
    masks: Tensor
    rows: dict[str, int]


def encode_texts(texts: Sequence[str], encoder: TextEncoder, max_tokens: int) -> Texts:
    """Encode every different text once."""
    unique = sorted(set(texts))
    pairs = [
        encoder.encode(unique[start : start + ITEMS_PER_TEXT_CALL], max_tokens)
        for start in range(0, len(unique), ITEMS_PER_TEXT_CALL)
    ]
    states = torch.cat([states.half().cpu() for states, _ in pairs])
    masks = torch.cat([mask.cpu() for _, mask in pairs])
    return Texts(states, masks, {text: row for row, text in enumerate(unique)})


@dataclass(frozen=True)
class Crops:
    """Draws batches of equal length from items. ``silence`` [D, n] fills what an item is too short for."""

    items: tuple[Item, ...]
    texts: Texts
    silence: NDArray[np.float32]
    spec: ModelSpec
    trigger: str
    crop_frames: int
    batch_size: int

    @classmethod
    def of(
        cls, items: Sequence[Item], folder: Path, encoder: TextEncoder, spec: ModelSpec, trigger: str,
        crop_frames: int, batch_size: int,
    ) -> Crops:  # fmt: skip
        """Encode the items' captions, each also with the trigger word, and read the silence beside them."""
        captions = [spec.full_prompt(told(item.caption, trigger)) for item in items]
        texts = encode_texts(
            [*captions, *([spec.full_prompt(trigger)] if trigger else [])], encoder, spec.conditioning.max_tokens
        )
        silence = np.load(folder / SILENCE_FILE)[0]
        return cls(tuple(items), texts, silence, spec, trigger, crop_frames, batch_size)

    def only(self, items: Sequence[Item]) -> Crops:
        """Return the same draws over some of the items."""
        return replace(self, items=tuple(items))

    def draw(self, rng: random.Random) -> Batch:
        """Draw a batch: items by their length, half of the crops from an item's start."""
        weights = [min(item.valid, 4 * self.crop_frames) for item in self.items]
        chosen = rng.choices(self.items, weights, k=self.batch_size)
        starts = []
        for item in chosen:
            room = max(0, item.valid - self.crop_frames)
            starts.append(0 if rng.random() < 0.5 else rng.randint(0, room))
        alone = [bool(self.trigger) and rng.random() < TRIGGER_ALONE for _ in chosen]
        return self.cut(chosen, starts, alone)

    def cut(self, items: Sequence[Item], starts: Sequence[int], alone: Sequence[bool]) -> Batch:
        """Return the batch of these items from these frames on."""
        length = self.crop_frames
        latents, grids, seconds, valid = [], [], [], []
        for item, start in zip(items, starts, strict=True):
            real = min(length, item.valid - start)
            latents.append(self._padded(item.latents[:, start : start + real], length))
            grids.append(self._grid(item, start, length))
            valid.append(real)
            seconds.append(self._seconds(item, real))
        captions = [
            self.spec.full_prompt(self.trigger if single else told(item.caption, self.trigger))
            for item, single in zip(items, alone, strict=True)
        ]
        rows = [self.texts.rows[text] for text in captions]
        return Batch(
            latents_BDT=torch.from_numpy(np.stack(latents)),
            grid_BGT=torch.from_numpy(np.stack(grids)),
            states_BLD=self.texts.states[rows].float(),
            mask_BL=self.texts.masks[rows],
            seconds_B=torch.tensor(seconds),
            valid_B=torch.tensor(valid),
            source_frames_B=torch.tensor([self._source_frames(item) for item in items]),
        )

    @property
    def _frame_seconds(self) -> float:
        return self.spec.samples_per_frame / self.spec.sample_rate

    def _padded(self, latents_DT: NDArray[np.float32], length: int) -> NDArray[np.float32]:
        missing = length - latents_DT.shape[1]
        tiles = -(-missing // self.silence.shape[1])
        return np.concatenate((latents_DT, np.tile(self.silence, (1, tiles))[:, :missing]), axis=1)

    def _grid(self, item: Item, start: int, length: int) -> NDArray[np.float32]:
        """Return the beat grid of a crop; all zero where the tempo is not known."""
        channels = self.spec.conditioning.beat_grid_dim
        if not channels or item.beats is None:
            return np.zeros((channels, length), np.float32)
        tempo = TempoMap.constant(item.beats.bpm, item.beats.numerator, item.beats.denominator)
        at_seconds = item.seconds_start + (start - item.lead_frames) * self._frame_seconds - item.beats.bar_seconds
        return beat_grid(tempo, at_seconds, length, self._frame_seconds)

    def _seconds(self, item: Item, real: int) -> float:
        """Return the duration told: nano is told the crop's, published models the whole file's."""
        return real * self._frame_seconds if self.spec.conditioning.beat_grid_dim else item.seconds_total

    def _source_frames(self, item: Item) -> int:
        return max(1, round(item.seconds_total / self._frame_seconds))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device."""
    return Batch(*(tensor.to(device) for tensor in vars(batch).values()))


def told(caption: str, trigger: str) -> str:
    """Return a caption with the trigger word before it, unless it says the word itself."""
    if not trigger or trigger.lower() in caption.lower():
        return caption
    return f"{trigger}, {caption}" if caption else trigger
