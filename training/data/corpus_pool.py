"""Nano's rendered corpus on disk: latents, beat grids and caption states, and batches of them. Knows no model.

Shapes: B batch, D latent channels, T frames, L text tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.generation.beat_grid import beat_grid
from sa3_daw.generation.model import EMBEDDED_TEXT_ENCODER
from sa3_daw.models.text_encoder import MiniLM
from sa3_daw.music.timeline import TempoMap
from sa3_training.checkpoints import load_state, save_state
from sa3_training.corpus.captions import caption
from sa3_training.corpus.score import ChooseParts, Score, choose_parts, compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renders
from sa3_training.flow.denoiser import Batch
from sa3_training.lapped import LappedTransform
from sa3_training.shared_work import pieces, shared

LEAD_FRAMES = 2
"""Frames of silence before the first beat, as generation leaves them before a clip."""

MAX_TOKENS = 32
CAPTIONS_PER_CLIP = 2
CLIPS_PER_PIECE, TEXTS_PER_PIECE = 64, 64
"""How many one process does at a time."""


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
    choose: ChooseParts = choose_parts,
    num_processes: int = 1,
) -> Clips:
    """Compose, render and encode one clip per seed."""
    frame_seconds = transform.analysis.shape[-1] // 2 / SAMPLE_RATE
    work = partial(_render_piece, num_frames, transform, renderer, choose)
    done = shared(work, pieces(seeds, CLIPS_PER_PIECE), num_processes)
    texts = [text for piece in done for text in piece.texts]
    unique = sorted(set(texts))
    groups = [unique[start : start + TEXTS_PER_PIECE] for start in range(0, len(unique), TEXTS_PER_PIECE)]
    states, masks = zip(*shared(encode_texts, groups, num_processes), strict=True)
    position = {text: index for index, text in enumerate(unique)}
    return Clips(
        torch.from_numpy(np.concatenate([piece.latents for piece in done])),
        torch.from_numpy(np.concatenate([piece.grids for piece in done])),
        torch.from_numpy(np.concatenate(states)),
        torch.from_numpy(np.concatenate(masks)),
        torch.tensor([position[text] for text in texts]).view(-1, CAPTIONS_PER_CLIP),
        frame_seconds,
    )


@dataclass(frozen=True)
class _Piece:
    """Some clips as arrays, latents [n, D, T] and grids [n, G, T] in float16, and their captions in order."""

    latents: NDArray[np.float16]
    grids: NDArray[np.float16]
    texts: list[str]


def _render_piece(
    num_frames: int, transform: LappedTransform, renderer: Renders, choose: ChooseParts, seeds: range
) -> _Piece:
    frame = transform.analysis.shape[-1] // 2
    frame_seconds = frame / SAMPLE_RATE
    body_seconds = (num_frames - LEAD_FRAMES) * frame_seconds
    latents, grids, texts = [], [], []
    for seed in seeds:
        score = compose(seed, body_seconds, choose)
        audio = torch.from_numpy(renderer.render(score, body_seconds))
        audio = torch.nn.functional.pad(audio, (LEAD_FRAMES * frame, 0))
        encoded = torch.nn.functional.conv1d(audio[None], transform.analysis, stride=frame, padding=frame // 2)
        latents.append(encoded[0].half().numpy())
        grids.append(_grid(score, num_frames, frame_seconds).astype(np.float16))
        rng = random.Random(f"caption {seed}")
        texts += [caption(score, rng) for _ in range(CAPTIONS_PER_CLIP)]
    return _Piece(np.stack(latents), np.stack(grids), texts)


def encode_texts(texts: list[str]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Return states [N, L, 384] and masks [N, L] of texts, as nano's text encoder reads them."""
    encoder = _text_encoder()
    states, mask = encoder.encode(texts, MAX_TOKENS)
    return states.half().numpy(), mask.numpy()


@cache
def _text_encoder() -> MiniLM:
    return MiniLM.from_directory(EMBEDDED_TEXT_ENCODER)


def render_audio(seeds: range, seconds: float, renderer: Renders, num_processes: int = 1) -> Tensor:
    """Return corpus audio, int16 [N, 2, S]; rendering it again is faster than reading it."""
    work = partial(_audio_piece, seconds, renderer)
    return torch.from_numpy(np.concatenate(shared(work, pieces(seeds, CLIPS_PER_PIECE), num_processes)))


def _audio_piece(seconds: float, renderer: Renders, seeds: range) -> NDArray[np.int16]:
    return np.stack([(32767 * renderer.render(compose(seed, seconds), seconds)).astype(np.int16) for seed in seeds])


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
