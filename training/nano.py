"""The whole recipe of nano in a straight line: fit, render, train decoder and DiT, export. Knows no arguments.

Every stage leaves a file and is skipped when its file exists, so a stopped run continues where it was.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sa3_daw.generation.model import EMBEDDED_TEXT_ENCODER
from sa3_daw.models.specs import ModelSpec
from sa3_daw.models.text_encoder import MiniLM
from sa3_training import train_dit, train_same
from sa3_training.corpus.score import compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renderer
from sa3_training.data import Clips, load_clips, render_clips, save_clips
from sa3_training.export import export
from sa3_training.lapped import LappedTransform, fit
from sa3_training.loop import averaged
from sa3_training.recipes import (
    NANO_FRAME_SAMPLES,
    NANO_LATENT_DIM,
    NANO_WHITENING,
    NanoRecipe,
    nano_config,
)


def build_nano(recipe: NanoRecipe, sound_font: Path, out: Path) -> Path:
    """Run every stage that is not done yet; return the model folder ``out/nano``."""
    out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(sound_font)
    transform = lapped_transform(recipe, renderer, out / "lapped.pt")
    pools = [
        clips(recipe.clip_seeds, recipe.clip_frames, transform, renderer, out / "clips.pt"),
        clips(recipe.long_seeds, recipe.long_frames, transform, renderer, out / "long.pt"),
    ]
    spec = ModelSpec.from_config(nano_config(), "nano")
    torch.manual_seed(recipe.decoder.seed)
    same = train_same.new_same(spec.same, transform)
    if spec.same.decoder.depth:
        train_same.train(same, decoder_audio(recipe, renderer), recipe.crop, recipe.decoder, out)
        same.load_state_dict(averaged(out / "same.ckpt"))
    torch.manual_seed(recipe.dit.seed)
    denoiser = train_dit.Denoiser(spec.dit, spec.conditioning)
    train_dit.train(denoiser, pools, recipe.lengths, recipe.dit, out)
    export(nano_config(), averaged(out / "dit.ckpt"), same.state_dict(), out / "nano")
    return out / "nano"


def lapped_transform(recipe: NanoRecipe, renderer: Renderer, path: Path) -> LappedTransform:
    """Fit the closed-form codec to the corpus, or read it."""
    if not path.exists():
        length = 160 * NANO_FRAME_SAMPLES
        seconds = length / SAMPLE_RATE
        audio = (torch.from_numpy(renderer.render(compose(seed, seconds), seconds)) for seed in recipe.fit_seeds)
        transform = fit(audio, NANO_FRAME_SAMPLES, NANO_LATENT_DIM, NANO_WHITENING)
        torch.save(vars(transform), path)
    return LappedTransform(**torch.load(path, weights_only=True))


def clips(seeds: range, num_frames: int, transform: LappedTransform, renderer: Renderer, path: Path) -> Clips:
    """Render and encode a pool of clips, or read it."""
    if not path.exists():
        encoder = MiniLM.from_directory(EMBEDDED_TEXT_ENCODER)
        save_clips(render_clips(seeds, num_frames, transform, renderer, encoder), path)
    return load_clips(path)


def decoder_audio(recipe: NanoRecipe, renderer: Renderer) -> Tensor:
    """Return the decoder's training audio, int16 [N, 2, S]; rendering it again is faster than reading it."""
    seconds = recipe.decoder_clip_seconds
    rendered = (renderer.render(compose(seed, seconds), seconds) for seed in recipe.decoder_seeds)
    return torch.stack([(torch.from_numpy(audio) * 32767).to(torch.int16) for audio in rendered])
