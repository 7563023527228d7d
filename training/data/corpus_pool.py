"""Nano's rendered corpus on disk: latents, beat grids and caption states, and batches of them. Knows no model.

Shapes: B batch, D latent channels, T frames, L text tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa3_daw.generation.beat_grid import beat_grid
from sa3_daw.models.text_encoder import MiniLM
from sa3_daw.music.timeline import TempoMap
from sa3_training.checkpoints import load_state, save_state
from sa3_training.corpus.captions import caption
from sa3_training.corpus.score import ChooseParts, Score, choose_parts, compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renders
from sa3_training.flow.denoiser import Batch
from sa3_training.lapped import LappedTransform

LEAD_FRAMES = 2
"""Frames of silence before the first beat, as generation leaves them before a clip."""

MAX_TOKENS = 32
CAPTIONS_PER_CLIP = 2


@dataclass(frozen=True)
class Clips:
    """Equally long clips: latents [N, D, T] and beat grids [N, G, T] float16, caption states [M, L, 384]."""

    latents: Tensor
    grids: Tensor
    states: Tensor
    masks: Tensor
    caption_of: Tensor
    frame_seconds: float

    @property
    def num_frames(self) -> int:
        return int(self.latents.shape[-1])


def render_clips(
    seeds: range,
    num_frames: int,
    transform: LappedTransform,
    renderer: Renders,
    encoder: MiniLM,
    choose: ChooseParts = choose_parts,
) -> Clips:
    """Compose, render and encode one clip per seed."""
    frame = transform.analysis.shape[-1] // 2
    frame_seconds = frame / SAMPLE_RATE
    body_seconds = (num_frames - LEAD_FRAMES) * frame_seconds
    latents, grids, texts = [], [], []
    for seed in seeds:
        score = compose(seed, body_seconds, choose)
        audio = torch.from_numpy(renderer.render(score, body_seconds))
        audio = torch.nn.functional.pad(audio, (LEAD_FRAMES * frame, 0))
        encoded = torch.nn.functional.conv1d(audio[None], transform.analysis, stride=frame, padding=frame // 2)
        latents.append(encoded[0].half())
        grids.append(torch.from_numpy(_grid(score, num_frames, frame_seconds)).half())
        rng = random.Random(f"caption {seed}")
        texts += [caption(score, rng) for _ in range(CAPTIONS_PER_CLIP)]
    unique = sorted(set(texts))
    states, masks = encode_texts(unique, encoder)
    position = {text: index for index, text in enumerate(unique)}
    caption_of = torch.tensor([position[text] for text in texts]).view(-1, CAPTIONS_PER_CLIP)
    return Clips(torch.stack(latents), torch.stack(grids), states, masks, caption_of, frame_seconds)


def encode_texts(texts: list[str], encoder: MiniLM, group: int = 64) -> tuple[Tensor, Tensor]:
    """Return states [N, L, 384] float16 and masks [N, L] for many texts."""
    pairs = [encoder.encode(texts[start : start + group], MAX_TOKENS) for start in range(0, len(texts), group)]
    return torch.cat([states.half() for states, _ in pairs]), torch.cat([mask for _, mask in pairs])


def _grid(score: Score, num_frames: int, frame_seconds: float) -> np.ndarray:
    tempo = TempoMap.constant(score.bpm, score.numerator, score.denominator)
    return beat_grid(tempo, -LEAD_FRAMES * frame_seconds, num_frames, frame_seconds)


def save_clips(clips: Clips, path: Path) -> None:
    """Write the clips to one file, whole or not at all."""
    save_state(vars(clips), path)


def load_clips(path: Path) -> Clips:
    """Read what ``save_clips`` wrote."""
    return Clips(**load_state(path))


@dataclass(frozen=True)
class Lengths:
    """Crops of every length between two bounds, evenly in octaves; shorter ones come in larger batches."""

    shortest_frames: int
    longest_frames: int
    frames_per_batch: int

    def draw(self, rng: random.Random) -> tuple[int, int]:
        """Return a crop length in frames and how many of them make a batch."""
        ratio = self.longest_frames / self.shortest_frames
        num_frames = round(self.shortest_frames * ratio ** rng.random())
        return num_frames, max(1, self.frames_per_batch // num_frames)


def draw_batch(pools: list[Clips], lengths: Lengths, rng: random.Random) -> Batch:
    """Draw one batch of one length, of random clips of one pool that is long enough.

    Half of the crops start at the clip's start, lead included.
    """
    num_frames, size = lengths.draw(rng)
    fitting = [pool for pool in pools if pool.num_frames >= num_frames]
    clips = rng.choices(fitting, [len(pool.latents) for pool in fitting])[0]
    rows = [rng.randrange(len(clips.latents)) for _ in range(size)]
    room = clips.num_frames - num_frames
    starts = [0 if rng.random() < 0.5 else rng.randint(0, room) for _ in rows]
    cut = [(row, slice(start, start + num_frames)) for row, start in zip(rows, starts, strict=True)]
    texts = [int(clips.caption_of[row, rng.randrange(CAPTIONS_PER_CLIP)]) for row in rows]
    return Batch(
        latents_BDT=torch.stack([clips.latents[row, :, window] for row, window in cut]).float(),
        grid_BGT=torch.stack([clips.grids[row, :, window] for row, window in cut]).float(),
        states_BLD=clips.states[texts].float(),
        mask_BL=clips.masks[texts],
        seconds_B=torch.full((size,), num_frames * clips.frame_seconds),
        valid_B=torch.full((size,), num_frames),
        source_frames_B=torch.full((size,), num_frames),
    )
