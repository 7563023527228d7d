"""Every stage of a model's training on somebody's own audio: prepare, train, write a model. Knows no arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sa3_daw.checkpoint import read_tensors
from sa3_daw.errors import invalid
from sa3_daw.generation.adapters import AdapterRack
from sa3_daw.generation.model import SAME_PREFIX, LoadedModel, load_model, load_text_encoder
from sa3_daw.models.conditioner import Conditioner
from sa3_daw.models.dit import DiT
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec, SameSpec
from sa3_training.checkpoints import remember, replace_bytes
from sa3_training.data.audio import AudioBatch, draw_audio, open_sounds
from sa3_training.data.crops import Crops
from sa3_training.data.describe import describe
from sa3_training.data.folder import Fault, in_words
from sa3_training.data.latents import encode_folder
from sa3_training.export import export
from sa3_training.flow.denoiser import Batch, Denoiser, initialise
from sa3_training.loop import Draw, LoopRecipe, Stage, averaged, train
from sa3_training.lora.train import model_folder
from sa3_training.losses.alignment import Alignment
from sa3_training.progress import Reporter
from sa3_training.sharding import whole
from sa3_training.stages.align import AlignRecipe, Embedders, align_stage
from sa3_training.stages.dit import DitRecipe, dit_stage
from sa3_training.stages.post import Discriminator, PostRecipe, post_stage
from sa3_training.stages.same import SameRecipe, same_stage
from sa3_training.stages.same_pair import PairRecipe, pair_stage
from sa3_training.stages.warmup import WarmUpRecipe, warm_up_stage
from sa3_training.world import World

SAME_FILE = "model.safetensors"
ALIGN_STEPS = 1000
MAY_CHANGE_ON_RESUME = ("data", "out", "num_steps", "minutes", "tensorboard")
SMALL_WIDTH = 512
"""Models narrower than this train on many short crops at a time."""


@dataclass(frozen=True)
class StageRun:
    """One stage on one folder. 0 means what suits the model. ``other`` is the stage's second model, if it has one;
    ``align`` is how much a pair of embedders, trained before it, weighs in post-training."""

    data: Path
    out: Path
    model: str = "nano"
    other: str = ""
    fresh: bool = False
    align: float = 0.0
    num_steps: int = 0
    minutes: float = 0.0
    batch_size: int = 0
    crop_seconds: float = 0.0
    num_parts: int = 1
    seed: int = 0
    tensorboard: bool = False

    def loop(self, num_steps: int) -> LoopRecipe:
        """Return how long the stage trains."""
        return LoopRecipe(self.num_steps or num_steps, self.minutes, self.num_parts, self.seed)


def train_same(run: StageRun, world: World) -> Path:
    """Train the model's autoencoder, or teach it a larger one's latents; return the folder with its weights."""
    _begin(run, "same", world)
    model = _load(run.model, fresh=run.fresh)
    same = model.same.to(world.device).train()
    if run.fresh:
        torch.manual_seed(run.seed)
        _reset(same)
    for name, parameter in same.named_parameters():
        parameter.requires_grad_("lapped" not in name)
    if not any(parameter.requires_grad for parameter in _inner(same)):
        raise invalid("model", run.model, "a model whose autoencoder has transformer layers; this one is a closed form")
    world.spread(same)
    sounds, faults = open_sounds(run.data)
    rate = model.spec.sample_rate
    frame = model.spec.samples_per_frame * model.spec.same.frame_alignment
    num_samples = max(frame, round((run.crop_seconds or 6.0) * rate) // frame * frame)
    size = run.batch_size or 4

    def batches(draw: Draw) -> AudioBatch:
        return draw_audio(sounds, size, num_samples, rate, draw.random())

    def text_states(captions: tuple[str, ...]) -> Tensor:
        return model.text_encoder.encode(list(captions), model.spec.conditioning.max_tokens)[0]

    loop = run.loop(100_000)
    if run.other:
        teacher = _teacher(run.other, model.spec).to(world.device)
        world.spread(teacher)
        stage = pair_stage(
            same,
            teacher,
            batches,
            rate,
            PairRecipe(learning_rate=same_recipe(model.spec.same, 0).learning_rate),
            loop,
            world,
        )
        prefix = ""
    else:
        text_dim = model.spec.conditioning.cond_dim
        recipe = same_recipe(model.spec.same, loop.num_steps)
        stage = same_stage(same, batches, text_states, text_dim, rate, recipe, loop, world)
        prefix = "same."
    _go(stage, loop, run, "same", world, faults)
    state = averaged(run.out / "same.ckpt", "same")
    weights = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    folder = run.out / "same"
    complete = whole(same.state_dict()) | weights
    if world.is_first:
        content = save({SAME_PREFIX + key: tensor.contiguous() for key, tensor in complete.items()})
        replace_bytes(folder / SAME_FILE, content)
    world.wait()
    return folder


def same_recipe(spec: SameSpec, num_steps: int) -> SameRecipe:
    """Return the published recipe, or what suits a small autoencoder; the adversary joins after at most a quarter."""
    warm_up = min(SameRecipe.warm_up_steps, num_steps // 4)
    if spec.decoder.width >= SMALL_WIDTH:
        return SameRecipe(warm_up_steps=warm_up)
    return SameRecipe(
        warm_up_steps=warm_up, learning_rate=1e-3, discriminator_rate=1e-3, discriminator_width=16, probe_width=128,
        probe_depth=2,
    )  # fmt: skip


def train_dit(run: StageRun, world: World) -> Path:
    """Train the model's DiT and conditioner by flow matching; return the new model's folder."""
    _begin(run, "dit", world)
    model = _load(run.model, fresh=run.fresh)
    if run.other:
        tensors = read_tensors(Path(run.other))
        model.same.load_state_dict({key.removeprefix(SAME_PREFIX): tensor for key, tensor in tensors.items()})
    crops = _crops(run, model, world)
    denoiser = _trainable(model.dit, model.conditioner, world)
    if run.fresh:
        torch.manual_seed(run.seed)
        denoiser = Denoiser.new(model.spec.dit, model.spec.conditioning).to(world.device)
    world.spread(denoiser)
    loop = run.loop(100_000)
    stage = dit_stage(denoiser, _drawing(crops), _frame_rate(model), DitRecipe(), loop, world)
    _go(stage, loop, run, "dit", world)
    return _write(run, model, averaged(run.out / "dit.ckpt", "dit"), distilled=False, world=world)


def distil(run: StageRun, world: World) -> Path:
    """Teach a copy of the model to need few steps and no guidance; return its folder."""
    _begin(run, "distill", world)
    model = _load(run.model)
    crops = _crops(run, model, world)
    teacher = Denoiser(model.dit, model.conditioner).to(world.device)
    student = _copy(model, world)
    for part in (teacher, student):
        world.spread(part)
    loop = run.loop(5000)
    stage = warm_up_stage(student, teacher, _drawing(crops), WarmUpRecipe(), loop, world)
    _go(stage, loop, run, "distill", world)
    return _write(run, model, averaged(run.out / "distill.ckpt", "dit"), distilled=True, world=world)


def post_train(run: StageRun, world: World) -> Path:
    """Post-train a distilled model against a discriminator made of its base; return its folder."""
    _begin(run, "post", world)
    base = _load(run.model)
    student_model = _load(run.other)
    crops = _crops(run, base, world)
    torch.manual_seed(run.seed)
    recipe = PostRecipe()
    discriminator = Discriminator(_copy(base, world), recipe.num_blocks).to(world.device)
    student = _copy(student_model, world)
    for part in (student, discriminator):
        world.spread(part)
    loop = run.loop(5000)
    alignment = _alignment(run, base, crops, world) if run.align else None
    stage = post_stage(student, discriminator, _drawing(crops), recipe, loop, world, alignment)
    _go(stage, loop, run, "post", world)
    return _write(run, base, averaged(run.out / "post.ckpt", "dit"), distilled=True, world=world)


def _begin(run: StageRun, name: str, world: World) -> None:
    if world.is_first:
        remember(asdict(run), run.out, name, MAY_CHANGE_ON_RESUME)
    world.wait()


def _alignment(run: StageRun, model: LoadedModel, crops: Crops, world: World) -> Alignment:
    """Train a pair of embedders on the folder's clips and captions, or go on with it."""
    torch.manual_seed(run.seed)
    recipe = AlignRecipe()
    pair = Embedders(model.spec.dit.latent_dim, model.spec.conditioning.cond_dim, recipe).to(world.device)
    loop = run.loop(ALIGN_STEPS)
    _go(align_stage(pair, _drawing(crops), recipe, loop, world), loop, run, "align", world)
    return pair.frozen(run.align)


def _load(name: str, *, fresh: bool = False) -> LoadedModel:
    """Load a model; one that is trained from random weights may be a folder with nothing but its config."""
    directory, known_as = model_folder(name)
    if not fresh or any(directory.glob("*.safetensors")):
        return load_model(directory, known_as)
    spec = ModelSpec.from_directory(directory, known_as)
    torch.manual_seed(0)
    untrained = Denoiser.new(spec.dit, spec.conditioning)
    dit, conditioner = untrained.dit, untrained.conditioner
    rack = AdapterRack({"model.": dit, "": conditioner}, known_as, None)
    text_encoder = load_text_encoder(spec, directory)
    return LoadedModel(spec, dit, GraphedDiT(dit), conditioner, Same(spec.same).eval(), text_encoder, rack)


def _teacher(name: str, student: ModelSpec) -> Same:
    """Load the autoencoder that is taught. Raises InvalidField when its latents have another shape."""
    model = _load(name)
    theirs, ours = (
        f"{spec.dit.latent_dim} channels of {spec.samples_per_frame} samples" for spec in (model.spec, student)
    )
    if theirs != ours:
        raise invalid("teacher", name, f"a model with latents of {ours}, as the student's; this one has {theirs}")
    return model.same


def _inner(same: Same) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in same.named_parameters()
        if "lapped" not in name and not name.startswith("bottleneck")
    ]


def _reset(same: Same) -> None:
    """Give an autoencoder a random start from which it learns: small query tokens, norms that do not saturate."""
    for part in same.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            part.reset_parameters()
    for name, parameter in same.named_parameters():
        if name.endswith("new_tokens"):
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("alpha"):
            nn.init.constant_(parameter, 1.0)


def _crops(run: StageRun, model: LoadedModel, world: World) -> Crops:
    """Encode the folder once, then draw crops from it."""
    sounds, faults = open_sounds(run.data)
    spec = model.spec
    small = spec.dit.width < SMALL_WIDTH
    frames = max(1, round((run.crop_seconds or (6.0 if small else 60.0)) * _frame_rate(model)))
    described = [describe(source, run.data) for source in sounds]
    with Reporter(run.out, "encode", quiet=not world.is_first) as report:
        for line in in_words(faults):
            report.say(line)
        if not world.is_first:
            world.wait()
        items = encode_folder(described, model.same, spec, run.out / "latents", report.say)
        if world.is_first:
            world.wait()
    size = run.batch_size or (8 if small else 1)
    return Crops.of(items, run.out / "latents", model.text_encoder, spec, "", frames, size)


def _drawing(crops: Crops) -> Any:
    def draw(part: Draw) -> Batch:
        return crops.draw(part.random())

    return draw


def _trainable(dit: DiT, conditioner: Conditioner, world: World) -> Denoiser:
    return Denoiser(dit, conditioner).requires_grad_(True).to(world.device).train()


def _copy(model: LoadedModel, world: World) -> Denoiser:
    """Return a trainable denoiser with the model's weights and none of its memory."""
    fresh = Denoiser(DiT(model.spec.dit), Conditioner(model.spec.conditioning))
    initialise(fresh.dit)
    fresh.dit.load_state_dict(model.dit.state_dict())
    fresh.conditioner.load_state_dict(model.conditioner.state_dict())
    return fresh.to(world.device)


def _frame_rate(model: LoadedModel) -> float:
    return model.spec.sample_rate / model.spec.samples_per_frame


def _go(stage: Stage, loop: LoopRecipe, run: StageRun, name: str, world: World, faults: Sequence[Fault] = ()) -> None:
    """Train to the end. Raises KeyboardInterrupt, saying how to go on, when it was asked to stop."""
    first = world.is_first
    with Reporter(run.out, name, bar=first, tensorboard=run.tensorboard and first, quiet=not first) as report:
        for line in in_words(faults):
            report.say(line)
        position = train(stage, loop, run.out, name, world, report)
    if not position.is_done:
        raise KeyboardInterrupt(f"{name} stopped at step {position.step}; the same command goes on from there")


def _write(run: StageRun, model: LoadedModel, weights: dict[str, Tensor], *, distilled: bool, world: World) -> Path:
    """Write a model folder like the one the run started from."""
    directory, _ = model_folder(run.model)
    config: dict[str, Any] = json.loads((directory / "model_config.json").read_text("utf-8"))
    if distilled:
        config["model"]["diffusion"]["diffusion_objective"] = "rf_denoiser"
        config["sa3_daw"] = config.get("sa3_daw", {}) | {"steps": 8, "guidance_scale": 1.0}
    folder = run.out / "model"
    if world.is_first:
        export(config, weights, model.same.state_dict(), folder)
    world.wait()
    return folder
