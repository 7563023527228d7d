"""`sa3-daw lora`: adapters listed, looked at, brought in, removed. Knows no tensor values."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw.cli.words import Parser, add_command
from sa3_daw.errors import CheckpointMismatch, InvalidField, invalid

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands


def add_to(commands: Commands) -> None:
    """Add `sa3-daw lora` and its words."""
    lora = add_command(
        commands,
        "lora",
        "LoRA adapters: list, info, import, rm",
        list_all,
        "LoRA adapters that `--adapter` can name: safetensors files as published or as `sa3-train lora` writes them, "
        "and PEFT folders. Without a word, list them.",
    )
    words = lora.add_subparsers(metavar="WHAT", parser_class=Parser)
    add_command(words, "list", "list the adapters", list_all)
    info = add_command(words, "info", "tell what an adapter changes, and whether it fits a model", show)
    info.add_argument("name", metavar="NAME", help="an adapter's name")
    info.add_argument("--model", default="", metavar="MODEL", help="a model to hold it against, layer by layer")
    bring = add_command(words, "import", "copy an adapter into the folder of adapters", bring_in)
    bring.add_argument("path", type=Path, metavar="PATH", help="a .safetensors file or a PEFT folder")
    bring.add_argument("--name", default="", metavar="NAME", help="what to call it (as its file is called)")
    remove = add_command(words, "rm", "delete an adapter", remove_one)
    remove.add_argument("name", metavar="NAME", help="an adapter's name")
    remove.add_argument("--yes", action="store_true", help="do it; otherwise only tell what would be deleted")


def list_all(_: Namespace) -> int:
    from sa3_daw.adapter_files import list_adapters

    folder = _folder()
    for entry in list_adapters(folder):
        made_for = f", for {entry.base_model}" if entry.base_model else ""
        print(f"{entry.name:<20} {entry.kind}, rank {entry.rank}, {entry.num_layers} layers{made_for}")
    print(f"further adapters: sa3-daw lora import FILE; they lie in {folder}")
    return 0


def show(arguments: Namespace) -> int:
    from sa3_daw.adapter_files import find_adapter

    entry = find_adapter(arguments.name, _folder())
    print(f"name        {entry.name}")
    print(f"file        {entry.path}")
    print(f"kind        {entry.kind}, rank {entry.rank}, alpha {entry.alpha:g}")
    print(f"made for    {entry.base_model or 'its file does not say'}")
    print(f"layers      {entry.num_layers}")
    if not arguments.model:
        return 0
    from sa3_daw.catalogue import find_model
    from sa3_daw.config import load_config
    from sa3_daw.verification import adapter_faults

    faults = adapter_faults(entry, find_model(arguments.model, load_config()).directory, arguments.model)
    for fault in faults:
        print(f"does not fit {arguments.model}: {fault}")
    if not faults:
        print(f"fits        {arguments.model}")
    return 1 if faults else 0


def bring_in(arguments: Namespace) -> int:
    from sa3_daw.adapter_files import SUFFIX, describe_adapter, find_adapter

    source: Path = arguments.path.expanduser().absolute()
    if not source.exists():
        raise invalid("path", str(source), "an adapter's file or folder")
    entry = describe_adapter(source)
    name = arguments.name or entry.name
    if Path(name).name != name or name.startswith("."):
        raise invalid("name", name, "a plain name without folders that does not begin with a point")
    folder = _folder()
    target = folder / (name if source.is_dir() else name + SUFFIX)
    if target.exists():
        raise InvalidField(f"{target} exists already; remove it first with: sa3-daw lora rm {name}", field="name")
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.ckpt"))
    else:
        shutil.copyfile(source, target)
    print(f"{find_adapter(name, folder).name} is ready: sa3-daw generate --adapter {name} ...")
    return 0


def remove_one(arguments: Namespace) -> int:
    from sa3_daw.adapter_files import SUFFIX, find_adapter

    folder = _folder()
    try:
        path = find_adapter(arguments.name, folder).path
    except CheckpointMismatch:
        path = folder / (arguments.name + SUFFIX)  # it is broken, which is a good reason to delete it
    if not arguments.yes:
        print(f"would delete {path}; do it with: sa3-daw lora rm {arguments.name} --yes")
        return 0
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    print(f"deleted {path}")
    return 0


def _folder() -> Path:
    from sa3_daw.config import load_config

    return load_config().adapters_dir
