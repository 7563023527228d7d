"""The whole recipe of nano in a straight line: fit, render, train, post-train, judge, keep the best. Knows no flags.

Every stage leaves a file and goes on where it stopped. After each, ``out/nano`` holds whichever finished candidate the
measures like best, the model shipped today among them, so a later stage can only help.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec
from sa3_training.candidates import Candidates
from sa3_training.checkpoints import load_state, remember, save_state
from sa3_training.corpus.score import ChooseParts, choose_mostly_one, choose_parts, compose
from sa3_training.corpus.sounds import SAMPLE_RATE, Renders
from sa3_training.data.corpus_pool import Clips, draw_batch, load_clips, render_audio, render_clips, save_clips
from sa3_training.data.crops import on_device
from sa3_training.data.pairs import Pairs, make_pairs, whole_clips
from sa3_training.evaluation.families import Families, learn, solo_clips
from sa3_training.evaluation.reconstruction import comb_db, mel_error
from sa3_training.export import export
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.lapped import LappedTransform, fit
from sa3_training.loop import Draw, Every, LoopRecipe, Numbers, Stage, averaged, has_ended, train
from sa3_training.progress import Reporter
from sa3_training.recipes import (
    NANO_FRAME_SAMPLES,
    NANO_LATENT_DIM,
    NANO_WHITENING,
    NanoRecipe,
    Sampled,
    nano_config,
)
from sa3_training.stages.decoder import closed_form, decoder_stage, folded, start_decoder
from sa3_training.stages.dit import dit_stage
from sa3_training.stages.guidance import guidance_stage
from sa3_training.stages.post import Discriminator, post_stage
from sa3_training.stages.warmup import warm_up_stage
from sa3_training.world import World

MAY_CHANGE_ON_RESUME = ("dit_loop", "guidance_loop", "decoder_loop", "warm_up_loop", "post_loop", "judge_seeds")
LOOK_EVERY_STEPS = 200
HELD_OUT_BATCHES = 4
CODEC_CLIPS, CODEC_SECONDS = 16, 6.0
WORST_COMB_DB = 1.0
"""A decoder may add no more than this to the original's patch comb, or the closed form is kept."""


def build_nano(recipe: NanoRecipe, renderer: Renders, out: Path, world: World, num_processes: int = 1) -> Path:
    """Run every stage that is not done yet; return the model folder ``out/nano``, the best candidate so far.

    ``num_processes`` render the corpus and measure the candidates. Raises InvalidField when ``out`` holds a run of
    another recipe.
    """
    if world.is_first:
        remember(asdict(recipe), out, "nano", MAY_CHANGE_ON_RESUME)
    else:
        world.wait()
    transform = lapped_transform(recipe, renderer, out / "lapped.pt")

    def pool(name: str, seeds: range, num_frames: int, choose: ChooseParts = choose_parts) -> Clips:
        return clips(seeds, num_frames, transform, renderer, out / f"{name}.pt", choose, num_processes)

    pools = [
        pool("clips", recipe.clip_seeds, recipe.clip_frames),
        pool("solo", recipe.solo_seeds, recipe.clip_frames, choose_mostly_one),
        pool("long", recipe.long_seeds, recipe.long_frames),
    ]
    unseen = pool("unseen", recipe.held_out_seeds, recipe.clip_frames)
    if world.is_first:
        world.wait()
    spec = ModelSpec.from_config(nano_config(recipe.size), "nano")
    bare_size = replace(recipe.size, decoder_depth=0)
    bare = closed_form(ModelSpec.from_config(nano_config(bare_size), "nano").same, transform)
    candidates = Candidates(
        out, lambda: families_of(recipe.judge_teaching_seeds, bare, renderer), recipe.judge_seeds, num_processes
    )

    def finish(name: str, weights: dict[str, Tensor], sampled: Sampled, same: Same = bare) -> None:
        if world.is_first:
            folder = out / "candidates" / name
            export(nano_config(bare_size if same is bare else recipe.size, sampled), weights, same.state_dict(), folder)
            candidates.add(name, folder)
        world.wait()

    if world.is_first:
        candidates.add("shipped", EMBEDDED / "nano")
    base = flow(recipe, spec, pools, unseen, out, world)
    finish("base", base, Sampled.GUIDED)
    unguided = guidance(recipe, spec, base, pools, out, world)
    finish("unguided", unguided, Sampled.UNGUIDED)
    short = [(recipe.clip_seeds, choose_parts, pools[0]), (recipe.solo_seeds, choose_mostly_one, pools[1])]
    same = decoder(recipe, spec, transform, unguided, short, renderer, out, world, num_processes) or bare
    finish("decoder", unguided, Sampled.UNGUIDED, same)
    student = warm_up(recipe, spec, base, unguided, pools, out, world)
    finish("warm-up", student, Sampled.DISTILLED, same)
    finish("post", post(recipe, spec, base, student, pools, out, world), Sampled.DISTILLED, same)
    return out / "nano"


def lapped_transform(recipe: NanoRecipe, renderer: Renders, path: Path) -> LappedTransform:
    """Fit the closed-form codec to the corpus, or read it."""
    if not path.exists():
        length = 160 * NANO_FRAME_SAMPLES
        seconds = length / SAMPLE_RATE
        audio = (torch.from_numpy(renderer.render(compose(seed, seconds), seconds)) for seed in recipe.fit_seeds)
        save_state(vars(fit(audio, NANO_FRAME_SAMPLES, NANO_LATENT_DIM, NANO_WHITENING)), path)
    return LappedTransform(**load_state(path))


def clips(
    seeds: range,
    num_frames: int,
    transform: LappedTransform,
    renderer: Renders,
    path: Path,
    choose: ChooseParts,
    num_processes: int,
) -> Clips:
    """Render and encode a pool of clips, or read it."""
    if not path.exists():
        save_clips(render_clips(seeds, num_frames, transform, renderer, choose, num_processes), path)
    return load_clips(path)


def decoder(
    recipe: NanoRecipe, spec: ModelSpec, transform: LappedTransform, student: dict[str, Tensor],
    pools: list[tuple[range, ChooseParts, Clips]], renderer: Renders, out: Path, world: World, num_processes: int,
) -> Same | None:  # fmt: skip
    """Teach the decoder's transformer on latents that ``student`` finished; None when the closed form sounds better."""
    if not recipe.size.decoder_depth:
        return None
    torch.manual_seed(recipe.decoder_loop.seed)
    spread_D = pools[0][-1].latents[: recipe.decoder_clips].float().std((0, 2))
    trained = start_decoder(closed_form(spec.same, transform), spread_D).to(world.device)
    ended = has_ended(recipe.decoder_loop, out / "decoder.ckpt")
    kept = out / "pairs.pt"
    pairs = [] if ended else decoder_pairs(recipe, spec, student, pools, renderer, kept, world, num_processes)
    stage = decoder_stage(trained, pairs, recipe.decoder, recipe.decoder_loop, world)
    run(stage, recipe.decoder_loop, out, "decoder", world)
    kept.unlink(missing_ok=True)
    learned = closed_form(spec.same, transform)
    learned.decoder.load_state_dict(learned.decoder.state_dict() | folded(averaged(out / "decoder.ckpt", "decoder")))
    audio = render_audio(recipe.held_out_seeds[:CODEC_CLIPS], CODEC_SECONDS, renderer).float() / 32767
    return learned if is_better_codec(learned, audio) else None


def decoder_pairs(
    recipe: NanoRecipe, spec: ModelSpec, student: dict[str, Tensor], pools: list[tuple[range, ChooseParts, Clips]],
    renderer: Renders, path: Path, world: World, num_processes: int,
) -> list[Pairs]:  # fmt: skip
    """Return the decoder's clips of every pool, beside what the student leaves of them.

    The first process makes them; the others, and a run that goes on, read them from ``path``.
    """
    if world.is_first and not path.exists():
        finishing = loaded(spec, student, world)
        count, levels = recipe.decoder_clips, recipe.decoder.levels
        made = [
            make_pairs(clips, seeds[:count], choose, renderer, finishing, levels, num_processes)
            for seeds, choose, clips in pools
        ]
        save_state({"pools": [vars(pairs) for pairs in made]}, path)
    world.wait()
    return [Pairs(**tensors) for tensors in load_state(path)["pools"]]


@torch.inference_mode()
def is_better_codec(learned: Same, audio_BCS: Tensor) -> bool:
    """Say whether the learned decoder has a lower mel error than its lapped path, without a hum at the patch rate."""
    audio = audio_BCS[..., : audio_BCS.shape[-1] // (2 * NANO_FRAME_SAMPLES) * 2 * NANO_FRAME_SAMPLES]
    latents = learned.encode(audio)
    ours, theirs = learned.decode(latents), learned.decoder.lapped(learned.bottleneck.decode(latents, None))
    original, comb = (fmean(comb_db(clip, 256) for clip in group) for group in (audio, ours))
    return mel_error(ours, audio) < mel_error(theirs, audio) and comb < original + WORST_COMB_DB


def flow(
    recipe: NanoRecipe, spec: ModelSpec, pools: list[Clips], unseen: Clips, out: Path, world: World
) -> dict[str, Tensor]:
    """Train the DiT by flow matching; return the averaged weights with the lowest error on unseen clips."""
    torch.manual_seed(recipe.dit_loop.seed)
    denoiser = Denoiser.new(spec.dit, spec.conditioning).to(world.device)
    stage = dit_stage(denoiser, drawing(pools, recipe), frame_rate(spec), recipe.dit, recipe.dit_loop, world)
    best = out / "dit.best.pt"
    lowest = load_state(best)["error"] if best.exists() else float("inf")

    def look(step: int) -> Numbers:
        nonlocal lowest
        average = stage.learners["dit"].ema
        assert average is not None
        error = unseen_error(spec, average.state, unseen, world)
        if error < lowest and world.is_first:
            lowest = error
            save_state({"error": error, "step": step, "weights": average.state}, best)
        return {"unseen": error}

    run(stage, recipe.dit_loop, out, "dit", world, look)
    weights: dict[str, Tensor] = load_state(best)["weights"]
    return weights


@torch.no_grad()
def unseen_error(spec: ModelSpec, weights: dict[str, Tensor], unseen: Clips, world: World) -> float:
    """Return the flow error of averaged weights on clips never trained on, always with the same noise."""
    denoiser = Denoiser.new(spec.dit, spec.conditioning).to(world.device)
    denoiser.load_state_dict(weights)
    plain = FlowRecipe(couple=False, context_dropout=0.0, mask_shares=(1.0, 0.0, 0.0))
    rows = torch.arange(len(unseen.latents)).chunk(HELD_OUT_BATCHES)
    errors = []
    for index, part in enumerate(rows):
        batch = whole_clips(unseen, part)
        generator = Draw(0, -1, index).generator()
        errors.append(float(flow_loss(denoiser, on_device(batch, world.device), plain, frame_rate(spec), generator)[0]))
    return fmean(errors)


def guidance(
    recipe: NanoRecipe, spec: ModelSpec, base: dict[str, Tensor], pools: list[Clips], out: Path, world: World
) -> dict[str, Tensor]:
    """Teach a copy of the base model to obey without guidance, in half of the calls."""
    teacher, student = loaded(spec, base, world), loaded(spec, base, world)
    stage = guidance_stage(student, teacher, drawing(pools, recipe), recipe.guidance, recipe.guidance_loop, world)
    run(stage, recipe.guidance_loop, out, "guidance", world)
    return averaged(out / "guidance.ckpt", "dit")


def warm_up(
    recipe: NanoRecipe, spec: ModelSpec, base: dict[str, Tensor], start: dict[str, Tensor], pools: list[Clips],
    out: Path, world: World,
) -> dict[str, Tensor]:  # fmt: skip
    """Distil the base model into one that needs few steps and no guidance; the student starts from ``start``."""
    teacher, student = loaded(spec, base, world), loaded(spec, start, world)
    stage = warm_up_stage(student, teacher, drawing(pools, recipe), recipe.warm_up, recipe.warm_up_loop, world)
    run(stage, recipe.warm_up_loop, out, "warm-up", world)
    return averaged(out / "warm-up.ckpt", "dit")


def post(
    recipe: NanoRecipe, spec: ModelSpec, base: dict[str, Tensor], student: dict[str, Tensor], pools: list[Clips],
    out: Path, world: World,
) -> dict[str, Tensor]:  # fmt: skip
    """Post-train the distilled model against a discriminator that starts as the base model."""
    torch.manual_seed(recipe.post_loop.seed)
    discriminator = Discriminator(loaded(spec, base, world), recipe.post.num_blocks).to(world.device)
    stage = post_stage(
        loaded(spec, student, world), discriminator, drawing(pools, recipe), recipe.post, recipe.post_loop, world
    )
    run(stage, recipe.post_loop, out, "post", world)
    return averaged(out / "post.ckpt", "dit")


def loaded(spec: ModelSpec, weights: dict[str, Tensor], world: World) -> Denoiser:
    """Return a denoiser with these weights."""
    denoiser = Denoiser.new(spec.dit, spec.conditioning)
    denoiser.load_state_dict({key: tensor.clone() for key, tensor in copy.copy(weights).items()})
    return denoiser.to(world.device)


def drawing(pools: list[Clips], recipe: NanoRecipe) -> Callable[[Draw], Batch]:
    """Return what draws a batch of the corpus for every part."""

    def draw(part: Draw) -> Batch:
        rng: random.Random = part.random()
        return draw_batch(pools, recipe.lengths, rng)

    return draw


def frame_rate(spec: ModelSpec) -> float:
    """Return latent frames per second."""
    return spec.sample_rate / spec.samples_per_frame


def run(
    stage: Stage, loop: LoopRecipe, out: Path, name: str, world: World, look: Callable[[int], Numbers] | None = None
) -> None:
    """Train one stage to its end, with a bar and a log. Raises KeyboardInterrupt when it was asked to stop."""
    with Reporter(out, name, bar=world.is_first, quiet=not world.is_first) as report:
        position = train(
            stage, loop, out, name, world, report,
            [Every(LOOK_EVERY_STEPS, look)] if look else [],
        )  # fmt: skip
    if not position.is_done:
        raise KeyboardInterrupt(f"{name} stopped at step {position.step}; the same command goes on from there")


@torch.inference_mode()
def families_of(seeds: range, same: Same, renderer: Renders) -> Families:
    """Teach the judge of instrument families by corpus clips as the codec passes them."""
    whole = 2 * NANO_FRAME_SAMPLES
    return learn(
        [
            (family, same.decode(same.encode(audio[None, :, : audio.shape[-1] // whole * whole]))[0])
            for family, audio in solo_clips(renderer, seeds)
        ]
    )
