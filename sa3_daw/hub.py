"""Fetching published models with huggingface_hub, which is imported only here and only when needed. Knows no weights.

Files lie in the Hugging Face cache, where other programs find them too. Offline, nothing here opens a connection.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from sa3_daw.errors import CheckpointMissing, LimitExceeded, ModelError
from sa3_daw.published import TEXT_ENCODER_BYTES, Published

WANTED_FILES = ("model_config.json", "model.safetensors", "t5gemma-b-b-ul2/*", "LICENSE*", "NOTICE*")
"""Neither the pickled svd_bases.pt nor pictures."""


def pull(model: Published, cache_dir: Path, *, offline: bool) -> Path:
    """Fetch what is not in the cache yet, resuming what was cut off; return the snapshot folder.

    Raises CheckpointMissing saying what to do when the licence is not accepted, the network is down or, offline,
    files are lacking; LimitExceeded when the disk is too small; ModelError without huggingface_hub.
    """
    hub = _huggingface_hub()
    if not offline:
        _check_space(model, cache_dir)
    errors = hub.errors
    try:
        folder = hub.snapshot_download(
            model.repository,
            revision=model.revision,
            cache_dir=cache_dir,
            allow_patterns=list(WANTED_FILES),
            local_files_only=offline,
        )
    except errors.GatedRepoError as error:
        raise CheckpointMissing(licence_steps(model), value=model.repository) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise CheckpointMissing(
            f"{model.page} at revision {model.revision} is not there, or not for this account: {_sentence(error)}",
            value=model.repository,
        ) from error
    except errors.LocalEntryNotFoundError as error:
        how = "and --offline forbids fetching it" if offline else f"and cannot be fetched: {_sentence(error)}"
        raise CheckpointMissing(f"{model.name} is not whole in {cache_dir}, {how}", value=model.repository) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise CheckpointMissing(
            f"fetching {model.name} broke off: {_sentence(error)}; run the same command again, it goes on from there",
            value=model.repository,
        ) from error
    return Path(folder)


def licence_steps(model: Published) -> str:
    """Return what a user does once before a gated model can be fetched."""
    return (
        f"{model.repository} is given only to those who accept its licence: 1. log in at {model.page} and accept it; "
        "2. make a token with read access at https://huggingface.co/settings/tokens; 3. run: hf auth login; "
        f"4. run again: sa3-daw models pull {model.name}"
    )


def remove(repository: str, cache_dir: Path) -> int:
    """Delete every revision of a repository from the cache; return how many bytes that freed."""
    cache = _huggingface_hub().scan_cache_dir(cache_dir)
    revisions = [
        revision.commit_hash for found in cache.repos if found.repo_id == repository for revision in found.revisions
    ]
    strategy = cache.delete_revisions(*revisions)
    strategy.execute()
    return int(strategy.expected_freed_size)


def _huggingface_hub() -> Any:
    try:
        hub: Any = import_module("huggingface_hub")
        import_module("huggingface_hub.errors")
    except ImportError as error:
        raise ModelError(
            "fetching models needs the package huggingface_hub; run: pip install 'sa3-daw[published]'"
        ) from error
    return hub


def _check_space(model: Published, cache_dir: Path) -> None:
    there = next(path for path in (cache_dir, *cache_dir.parents) if path.exists())
    fetched = sum(
        path.stat().st_size for path in cache_dir.glob(f"models--{model.repository.replace('/', '--')}/blobs/*")
    )
    needed = model.weights_bytes + (TEXT_ENCODER_BYTES if model.has_text_encoder else 0) - fetched
    free = shutil.disk_usage(there).free
    if needed > free:
        raise LimitExceeded(
            f"{model.name} needs {needed / 1e9:.1f} GB more in {cache_dir}, {free / 1e9:.1f} GB are free; "
            "another place is set with HF_HUB_CACHE or, in the configuration, hub_cache_dir",
            field="hub_cache_dir",
            value=str(cache_dir),
        )


def _sentence(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
