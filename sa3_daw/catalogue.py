"""Which models are installed: embedded, in ``models_dir``, in the Hugging Face cache. Knows no weights and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sa3_daw.config import DaemonConfig
from sa3_daw.errors import ModelError, RequestError, UnknownModel, shorten
from sa3_daw.models.specs import ModelSpec
from sa3_daw.published import PUBLISHED

EMBEDDED = Path(__file__).parent / "embedded"
CONFIG_NAME = "model_config.json"
HUB_FOLDER = "models--"
"""A Hugging Face cache keeps models--OWNER--REPOSITORY/{refs/main, snapshots/REVISION/...}."""


@dataclass(frozen=True)
class ModelEntry:
    """One installed model."""

    name: str
    directory: Path
    spec: ModelSpec


def list_models(config: DaemonConfig) -> list[ModelEntry]:
    """Return every model whose config can be read and whose weights are there, embedded first, then by name."""
    entries = []
    for name, directory in model_folders(config).items():
        try:
            if has_weights(directory):
                entries.append(ModelEntry(name, directory, ModelSpec.from_directory(directory, name)))
        except (ModelError, RequestError):
            continue  # find_model, asked for it by name, says what is wrong with it
    return entries


def has_weights(directory: Path) -> bool:
    """Say whether a folder holds weights at all; whether they are right is found when they are loaded."""
    return next(directory.glob("model*.safetensors"), None) is not None


def find_model(name: str, config: DaemonConfig) -> ModelEntry:
    """Return a model by name. Raises UnknownModel, listing those that exist, or what is wrong with its config."""
    directory = model_folder(name, config)
    return ModelEntry(name, directory, ModelSpec.from_directory(directory, name))


def model_folder(name: str, config: DaemonConfig) -> Path:
    """Return where a model lies, whatever is there. Raises UnknownModel, listing those that exist."""
    folders = model_folders(config)
    if name not in folders:
        known = ", ".join(folders) or "none"
        said = f"no model {shorten(name)} is installed; installed: {known}"
        raise UnknownModel(said, field="model", value=shorten(name), allowed=known)
    return folders[name]


def model_folders(config: DaemonConfig) -> dict[str, Path]:
    """Names and folders; earlier places win, so an embedded model cannot be replaced by one of the same name."""
    found: dict[str, Path] = {}
    for parent in (EMBEDDED, config.models_dir):
        if parent.is_dir():
            for path in sorted(parent.glob(f"*/{CONFIG_NAME}")):
                found.setdefault(path.parent.name, path.parent)
    for name, directory in hub_snapshots(config.hub_cache_dir).items():
        if (directory / CONFIG_NAME).is_file():
            found.setdefault(name, directory)
    return found


def hub_snapshots(cache_dir: Path) -> dict[str, Path]:
    """Return one snapshot folder of every repository in a Hugging Face cache, by short name.

    Of a published model that is the pinned revision when it is there, else and for others what ``main`` names.
    """
    found: dict[str, Path] = {}
    for repository in sorted(cache_dir.glob(HUB_FOLDER + "*--*")) if cache_dir.is_dir() else ():
        name = short_name(repository.name.rpartition("--")[2])
        pinned = PUBLISHED[name].revision if name in PUBLISHED else ""
        for revision in (pinned, _main_revision(repository)):
            if revision.isalnum() and (repository / "snapshots" / revision).is_dir():
                found.setdefault(name, repository / "snapshots" / revision)
    return found


def _main_revision(repository: Path) -> str:
    try:
        return (repository / "refs" / "main").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def converted_dir(name: str, config: DaemonConfig) -> Path:
    """Return where the engine keeps a model's weights once converted; everything there can be made again."""
    return config.data_dir / "cache" / "converted" / name


def short_name(repository: str) -> str:
    """Return what we call a repository: ``small-music`` for ``stable-audio-3-small-music``, ``same-s`` for SAME-S."""
    return repository.rpartition("/")[2].removeprefix("stable-audio-3-").lower()
