"""Which models are installed: the embedded one and the folders of ``models_dir``. Knows no weights and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sa3_daw.config import DaemonConfig
from sa3_daw.errors import ModelError, RequestError, UnknownModel, shorten
from sa3_daw.models.specs import ModelSpec

EMBEDDED = Path(__file__).parent / "embedded"
CONFIG_NAME = "model_config.json"


@dataclass(frozen=True)
class ModelEntry:
    """One installed model."""

    name: str
    directory: Path
    spec: ModelSpec


def list_models(config: DaemonConfig) -> list[ModelEntry]:
    """Return every model whose config can be read, embedded first, then by name."""
    entries = []
    for name, directory in _folders(config).items():
        try:
            entries.append(ModelEntry(name, directory, ModelSpec.from_directory(directory, name)))
        except (ModelError, RequestError):
            continue  # find_model, asked for it by name, says what is wrong with it
    return entries


def find_model(name: str, config: DaemonConfig) -> ModelEntry:
    """Return a model by name. Raises UnknownModel, listing those that exist, or what is wrong with its config."""
    folders = _folders(config)
    if name not in folders:
        known = ", ".join(folders) or "none"
        raise UnknownModel(
            f"no model {shorten(name)} is installed; installed: {known}",
            field="model",
            value=shorten(name),
            allowed=known,
        )
    return ModelEntry(name, folders[name], ModelSpec.from_directory(folders[name], name))


def _folders(config: DaemonConfig) -> dict[str, Path]:
    """Names and folders; an embedded model cannot be replaced by one of the same name."""
    found: dict[str, Path] = {}
    for parent in (EMBEDDED, config.models_dir):
        if parent.is_dir():
            for path in sorted(parent.glob(f"*/{CONFIG_NAME}")):
                found.setdefault(path.parent.name, path.parent)
    return found
