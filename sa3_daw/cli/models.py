"""`sa3-daw models`: what is installed and what could be; fetched, brought in, verified, removed. Knows no weights."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw.catalogue import (
    CONFIG_NAME,
    EMBEDDED,
    converted_dir,
    hub_snapshots,
    list_models,
    model_folder,
    model_folders,
    short_name,
)
from sa3_daw.cli.words import Parser, add_command
from sa3_daw.config import load_config
from sa3_daw.errors import InvalidField, ModelError, RequestError, UnknownModel, invalid
from sa3_daw.models.specs import ModelSpec, is_autoencoder, read_config
from sa3_daw.published import PUBLISHED, TEXT_ENCODER_BYTES, Published

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands

WEIGHTS = "model*.safetensors"


def add_to(commands: Commands) -> None:
    """Add `sa3-daw models` and its words."""
    models = add_command(
        commands,
        "models",
        "the models: list, pull, import, verify, info, rm",
        list_all,
        "Models lie in the folder of models and in the Hugging Face cache. Without a word, list them.",
    )
    words = models.add_subparsers(metavar="WHAT", parser_class=Parser)
    add_command(words, "list", "list the installed models, and the published ones", list_all)
    pull = add_command(words, "pull", "fetch a published model from Hugging Face and verify it", pull_one)
    pull.add_argument("name", metavar="NAME", help=", ".join(PUBLISHED))
    pull.add_argument("--offline", action="store_true", help="open no connection: only check what is there already")
    bring = add_command(words, "import", "bring a downloaded folder into the folder of models and verify it", bring_in)
    bring.add_argument("path", type=Path, metavar="FOLDER", help="a folder laid out as published")
    bring.add_argument("--name", default="", metavar="NAME", help="what to call it (as the folder is called)")
    verify = add_command(words, "verify", "check hashes, every key and shape, and a first run", verify_one)
    verify.add_argument("name", metavar="NAME", help="an installed model")
    info = add_command(words, "info", "tell all about a model", show)
    info.add_argument("name", metavar="NAME", help="an installed or published model")
    remove = add_command(words, "rm", "delete a model's files", remove_one)
    remove.add_argument("name", metavar="NAME", help="an installed model")
    remove.add_argument("--yes", action="store_true", help="do it; otherwise only tell what would be deleted")


def list_all(_: Namespace) -> int:
    config = load_config()
    usable = {entry.name: entry.spec for entry in list_models(config)}
    folders = model_folders(config)
    for name, directory in folders.items():
        print(f"{name:<18} {_in_short(usable.get(name), directory, name)}")
        print(f"{'':<18} {directory}")
    for name, model in PUBLISHED.items():
        if name not in folders:
            gated = ", after its licence is accepted" if model.is_gated else ""
            print(f"{name:<18} not installed, {_gigabytes(model)}: sa3-daw models pull {name}{gated}")
    print(f"models of your own: one folder each, laid out as published, in {config.models_dir}")
    return 0 if usable else 1


def pull_one(arguments: Namespace) -> int:
    from sa3_daw.hub import pull

    model = _published(arguments.name)
    folder = pull(model, load_config().hub_cache_dir, offline=arguments.offline)
    print(f"{model.name} lies in {folder}")
    _verify(folder, model.name)
    print(f"it is given under the licence at {model.page}")
    return 0


def bring_in(arguments: Namespace) -> int:
    source: Path = arguments.path.expanduser().absolute()
    if not (source / CONFIG_NAME).is_file():
        raise invalid("folder", str(source), f"a folder that holds {CONFIG_NAME} and model.safetensors")
    name = arguments.name or short_name(source.name)
    config = load_config()
    if name in model_folders(config):
        raise InvalidField(f"a model {name!r} is installed already; choose another --name", field="name", value=name)
    if Path(name).name != name or name.startswith("."):
        raise invalid("name", name, "a plain name without folders that does not begin with a point")
    _verify(source, name)
    target = config.models_dir / name
    _place(source, target)
    print(f"{name} is ready in {target}: sa3-daw generate --model {name} ...")
    return 0


def verify_one(arguments: Namespace) -> int:
    from sa3_daw.converted import ConvertedCopies

    config = load_config()
    _verify(model_folder(arguments.name, config), arguments.name)
    for sentence in ConvertedCopies(converted_dir(arguments.name, config)).verify():
        print(sentence)
    return 0


def show(arguments: Namespace) -> int:
    name, config = arguments.name, load_config()
    directory = model_folders(config).get(name)
    if directory is None:
        model = _published(name)
        print(f"{name} is published at {model.page}, revision {model.revision}, {_gigabytes(model)}")
        print(f"not installed; fetch it with: sa3-daw models pull {name}")
        return 0
    print(f"folder      {directory}")
    if name in PUBLISHED:
        print(f"published   {PUBLISHED[name].page}, licence there")
    raw = read_config(directory, name)
    if is_autoencoder(raw):
        print("kind        an autoencoder alone: no prompt, no generation")
        return 0
    spec = ModelSpec.from_config(raw, name)
    print(f"length      up to {spec.max_num_samples / spec.sample_rate:.1f} s at {spec.sample_rate} Hz")
    print(f"sampling    {spec.sampler}, {spec.default_steps} steps, guidance {spec.default_guidance_scale:g}")
    print(f"headroom    {spec.headroom_seconds:g} s made beyond a clip and cut away")
    print(f"prompts     {spec.full_prompt('your words')!r} is what the model reads for 'your words'")
    print(f"encoder     {_text_encoder(spec, directory)}")
    print(f"files       {_size(directory) / 1e9:.2f} GB")
    converted = converted_dir(name, config)
    if converted.is_dir():
        print(f"converted   {_size(converted) / 1e9:.2f} GB in {converted}, made again when needed")
    return 0


def remove_one(arguments: Namespace) -> int:
    name, config = arguments.name, load_config()
    directory = model_folder(name, config)
    if directory.parent == EMBEDDED:
        raise invalid("name", name, "a model that is not part of the program")
    in_cache = hub_snapshots(config.hub_cache_dir).get(name) == directory
    place = directory.parent.parent if in_cache else directory
    converted = converted_dir(name, config)
    size = _size(directory) + _size(converted)
    if not arguments.yes:
        told = f"would delete {place} and what was made of it ({size / 1e9:.2f} GB)"
        print(f"{told}; do it with: sa3-daw models rm {name} --yes")
        return 0
    if in_cache:
        from sa3_daw.hub import remove

        freed = remove(place.name.removeprefix("models--").replace("--", "/", 1), config.hub_cache_dir)
    else:
        freed = _size(directory)
        shutil.rmtree(directory)
    freed += _size(converted)
    shutil.rmtree(converted, ignore_errors=True)
    print(f"deleted {place} ({freed / 1e9:.2f} GB)")
    return 0


def _verify(directory: Path, name: str) -> None:
    from sa3_daw.verification import verify

    for sentence in verify(directory, name):
        print(f"ok  {sentence}", flush=True)


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise UnknownModel(f"no model {name!r} is published; published: {known}", field="model", allowed=known)
    return PUBLISHED[name]


def _in_short(spec: ModelSpec | None, directory: Path, name: str) -> str:
    if spec is not None:
        seconds = spec.max_num_samples / spec.sample_rate
        return f"up to {seconds:.0f} s at {spec.sample_rate} Hz, {spec.default_steps} steps"
    try:
        if is_autoencoder(read_config(directory, name)):
            return "an autoencoder alone, for training"
        ModelSpec.from_directory(directory, name)
    except (ModelError, RequestError) as error:
        return f"cannot be used: {error.message}"
    return "cannot be used: its weights are not there"


def _text_encoder(spec: ModelSpec, directory: Path) -> str:
    if spec.conditioning.text_encoder == "minilm":
        return "MiniLM, part of the program"
    folder = directory / spec.conditioning.text_encoder_folder
    there = "there" if (folder / "model.safetensors").is_file() else f"MISSING; run: sa3-daw models pull {spec.name}"
    return f"T5Gemma, {spec.conditioning.max_tokens} tokens, in {folder.name}/: {there}"


def _place(source: Path, target: Path) -> None:
    """Hard links where the file system allows, copies elsewhere; the folder appears when it is whole."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    wanted = [source / CONFIG_NAME, *source.glob(WEIGHTS), *source.glob("t5gemma*/*"), *source.glob("LICENSE*")]
    try:
        for path in wanted:
            if path.is_file():
                goal = part / path.relative_to(source)
                goal.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(path.resolve(), goal)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _link_or_copy(path: Path, goal: Path) -> None:
    try:
        os.link(path, goal)
    except OSError:
        shutil.copyfile(path, goal)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _gigabytes(model: Published) -> str:
    return f"{(model.weights_bytes + (TEXT_ENCODER_BYTES if model.has_text_encoder else 0)) / 1e9:.1f} GB"
