"""One style pack in a straight line: look at the folder, check the budget, encode, train, write. Knows no arguments."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

import torch

import sa3_daw
from sa3_daw.catalogue import CONFIG_NAME, find_model
from sa3_daw.config import load_config
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.models.specs import ModelSpec
from sa3_training.checkpoints import remember, require_disk
from sa3_training.data.crops import Crops, on_device, told
from sa3_training.data.describe import describe
from sa3_training.data.folder import Fault, Source, in_words, scan
from sa3_training.data.latents import Item, encode_folder, holds_latents, read_encoded
from sa3_training.flow.denoiser import Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.loop import Draw, Every, Learner, LoopRecipe, Numbers, Stage, plain_stage, stored_step, train
from sa3_training.lora import budget
from sa3_training.lora.adapt import AdapterRecipe, adapter_tensors, attach, recompute_blocks
from sa3_training.lora.held_out import HeldOut, split
from sa3_training.lora.pack import Card, write_pack
from sa3_training.lora.preview import Preview, Wear, worn_copy
from sa3_training.progress import Reporter
from sa3_training.world import World

MAY_CHANGE_ON_RESUME = (
    "data", "out", "num_steps", "minutes", "preview_every", "author", "licence", "tensorboard", "prompts",
)  # fmt: skip

CHECKPOINT_BYTES = 26
"""Of each learned number: two checkpoints of itself and two moments in float32, while one replaces the other, and the
pack in float16."""

LOOKS = 20
"""How often the held-out error is measured over the whole run."""


@dataclass(frozen=True)
class PackRecipe:
    """Everything that decides a style pack. ``model`` is an installed model's name or a model folder.

    0 for steps, batch size, crop and learning rate means what suits the model (``suited``).
    """

    data: Path
    out: Path
    name: str
    model: str = "nano"
    trigger: str = ""
    licence: str = "not stated: ask its maker before you share it"
    author: str = ""
    adapter: AdapterRecipe = field(default_factory=AdapterRecipe)
    num_steps: int = 0
    minutes: float = 0.0
    batch_size: int = 0
    crop_seconds: float = 0.0
    learning_rate: float = 0.0
    num_parts: int = 1
    seed: int = 0
    preview_every: int = 100
    prompts: tuple[str, ...] = ()
    tensorboard: bool = False


def train_pack(recipe: PackRecipe, world: World) -> Path:
    """Train and write ``out/name.safetensors`` with its cards; continue when ``out`` holds a part of it.

    Raises InvalidField, UnknownModel, CheckpointMissing, OutOfMemory or DiskFull before training starts, and
    KeyboardInterrupt, saying how to go on, when it was asked to stop.
    """
    directory, name = model_folder(recipe.model)
    spec = ModelSpec.from_directory(directory, name)
    recipe = suited(recipe, spec)
    if world.is_first:
        remember(asdict(recipe), recipe.out, "pack", MAY_CHANGE_ON_RESUME)
    world.wait()
    first = world.is_first
    with Reporter(
        recipe.out, recipe.name, bar=first, tensorboard=recipe.tensorboard and first, quiet=not first
    ) as report:
        found = look_at(recipe.data, spec)
        for line in in_words(found.faults):
            report.say(line)
        crop_frames = max(1, round(recipe.crop_seconds * spec.sample_rate / spec.samples_per_frame))
        bf16 = world.device.type == "cuda"
        asked = budget.Load(recipe.batch_size, crop_frames, bf16, recipe.adapter)
        load, needed = budget.fit(spec, asked, budget.free_bytes(world.device))
        report.say(
            f"{found.minutes:.1f} minutes of audio, {recipe.num_steps} steps, about {needed / 2**30:.1f} GiB of memory"
        )
        if load.recompute:
            report.say("memory is short: blocks are computed twice instead of kept, which takes about a third longer")
        model = load_model(directory, name)
        items = encoded(found, model, recipe, report, world)
        crops = Crops.of(
            items, recipe.out / "latents", model.text_encoder, spec, recipe.trigger, crop_frames, recipe.batch_size
        )
        return _train(recipe, world, model, crops, found, report, load.recompute)


def model_folder(model: str) -> tuple[Path, str]:
    """Return folder and name of an installed model, or of a folder given by its path."""
    path = Path(model)
    if (path / CONFIG_NAME).exists():
        return path, path.resolve().name
    entry = find_model(model, load_config())
    return entry.directory, entry.name


def suited(recipe: PackRecipe, spec: ModelSpec) -> PackRecipe:
    """Fill in what the recipe leaves to the model: small ones take larger steps on short crops, many at a time."""
    small = spec.dit.width < 512
    defaults = {
        "num_steps": 400 if small else 2000,
        "batch_size": 8 if small else 1,
        "crop_seconds": 6.0 if small else 60.0,
        "learning_rate": 4e-3 if small else 1e-4,
    }
    chosen = {key: getattr(recipe, key) or value for key, value in defaults.items()}
    return replace(recipe, **chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Contents:
    """What a folder holds: audio still to be encoded, or latents that somebody encoded before."""

    names: tuple[str, ...]
    minutes: float
    faults: tuple[Fault, ...]
    sources: tuple[Source, ...] = ()
    items: tuple[Item, ...] = ()


def look_at(folder: Path, spec: ModelSpec) -> Contents:
    """Look at a folder of audio or of pre-encoded latents. Raises InvalidField when nothing in it can be used."""
    if holds_latents(folder):
        items, faults = read_encoded(folder, spec)
        minutes = sum(item.valid for item in items) * spec.samples_per_frame / spec.sample_rate / 60
        return Contents(tuple(dict.fromkeys(item.name for item in items)), minutes, tuple(faults), items=tuple(items))
    found = scan(folder)
    return Contents(tuple(source.name for source in found.sources), found.minutes, found.faults, found.sources)


def encoded(found: Contents, model: LoadedModel, recipe: PackRecipe, report: Reporter, world: World) -> Sequence[Item]:
    """Return the folder's latents, encoded by the first process and read by all."""
    described = [describe(source, recipe.data) for source in found.sources]
    if not world.is_first:
        world.wait()
    items = encode_folder(described, model.same, model.spec, recipe.out / "latents", report.say)
    if world.is_first:
        world.wait()
    return found.items or items


def _train(
    recipe: PackRecipe,
    world: World,
    model: LoadedModel,
    crops: Crops,
    found: Contents,
    report: Reporter,
    recompute: bool,
) -> Path:
    denoiser = Denoiser(model.dit, model.conditioner)
    wear: Wear = nullcontext
    if world.device.type == "cuda":
        # Clips are generated on the CPU in float32, so what previews needs its own weights.
        denoiser = copy.deepcopy(denoiser)
        denoiser.dit.to(torch.bfloat16)
        wear = worn_copy(model, denoiser, recipe.adapter, recipe.out)
    denoiser.to(world.device)
    attach(denoiser, recipe.adapter, recipe.seed)
    learned = sum(parameter.numel() for parameter in denoiser.parameters() if parameter.requires_grad)
    require_disk(recipe.out, CHECKPOINT_BYTES * learned, "keeping checkpoints and the pack")
    if recompute:
        recompute_blocks(denoiser)
    frame_rate = model.spec.sample_rate / model.spec.samples_per_frame
    trained, kept = split(crops.items, recipe.seed)
    watch = HeldOut(denoiser, crops.only(kept), frame_rate, recipe.out / "held_out.json", report, world)
    preview = Preview(model, wear, prompts(recipe, trained), recipe.out, report)
    stage = pack_stage(denoiser, crops.only(trained), frame_rate, recipe, world)
    loop = loop_recipe(recipe)
    looks = [Every(max(1, recipe.num_steps // LOOKS), watch.look)]
    if recipe.preview_every and world.is_first:
        looks.append(Every(recipe.preview_every, preview.render))
    step = stored_step(recipe.out / "pack.ckpt")
    watch.start(step)
    if recipe.preview_every and world.is_first and step == 0:
        preview.render(0)
    position = train(stage, loop, recipe.out, "pack", world, report, looks)
    path = recipe.out / f"{recipe.name}.safetensors"
    if world.is_first and position.is_done:
        card = make_card(recipe, model.spec, found, crops.items, watch, position.step)
        write_pack(adapter_tensors(denoiser), recipe.adapter.config(), card, path)
        report.say(f"wrote {path}; 'sa3-daw lora import {path}' makes it available to jobs")
    world.wait()
    if not position.is_done:
        raise KeyboardInterrupt(
            f"stopped at step {position.step} of {recipe.num_steps}; the same command goes on from there"
        )
    return path


def loop_recipe(recipe: PackRecipe) -> LoopRecipe:
    """Return how long and in how many parts a pack trains."""
    return LoopRecipe(recipe.num_steps, recipe.minutes, recipe.num_parts, recipe.seed)


def pack_stage(denoiser: Denoiser, crops: Crops, frame_rate: float, recipe: PackRecipe, world: World) -> Stage:
    """Return the stage: AdamW on the adapters' numbers alone, by the published flow-matching loss."""
    learned = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    flow = FlowRecipe()

    def loss(draw: Draw) -> tuple[torch.Tensor, Numbers]:
        batch = on_device(crops.draw(draw.random()), world.device)
        return flow_loss(denoiser, batch, flow, frame_rate, draw.generator())

    return plain_stage(Learner(denoiser, [optimiser]), loss, loop_recipe(recipe), world, "pack")


def prompts(recipe: PackRecipe, items: Sequence[Item]) -> tuple[str, ...]:
    """Return what previews are made of: the asked prompts, or the first caption and the trigger word alone."""
    own = (told(items[0].caption, recipe.trigger), recipe.trigger)
    return recipe.prompts or tuple(filter(None, own))


def make_card(
    recipe: PackRecipe, spec: ModelSpec, found: Contents, items: Sequence[Item], watch: HeldOut, num_steps: int
) -> Card:
    """Return the card of a finished pack."""
    return Card(
        name=recipe.name,
        base_model=spec.name,
        kind=recipe.adapter.kind,
        rank=recipe.adapter.rank,
        trigger=recipe.trigger,
        licence=recipe.licence,
        author=recipe.author,
        num_steps=num_steps,
        num_files=len(found.names),
        minutes_of_audio=round(found.minutes, 2),
        captions=tuple(dict.fromkeys(item.caption for item in items)),
        files=found.names,
        faults=tuple(map(str, found.faults)),
        held_out_files=tuple(dict.fromkeys(watch.names)),
        held_out_loss=watch.summary(),
        made=date.today().isoformat(),
        made_with=f"sa3-daw {sa3_daw.__version__}",
    )
