"""Is a model folder what it says it is: hashes, every key and shape, a first run. Knows no network and no daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from sa3_daw.adapter_files import AdapterEntry
from sa3_daw.checkpoint import build, check_keys, read_adapter
from sa3_daw.errors import CheckpointMismatch, ModelError
from sa3_daw.generation.model import CONDITIONER_PREFIX, DIT_PREFIX, SAME_PREFIX, load_model, load_same
from sa3_daw.models.adapted import AdaptableLayers
from sa3_daw.models.conditioner import Conditioner
from sa3_daw.models.dit import DiT
from sa3_daw.models.same import Same
from sa3_daw.models.specs import Config, ModelSpec, is_autoencoder, read_config, same_spec_of
from sa3_daw.published import PUBLISHED, mending_command
from sa3_daw.tensor_files import file_sha256
from sa3_daw.weight_files import open_weights

FLOATING = {"F16", "BF16", "F32", "F64"}
TEST_FRAMES = 4


def verify(directory: Path, name: str) -> Iterator[str]:
    """Check a model folder, cheapest question first; yield one sentence for each that is answered well.

    The hashes of a published name must be the pinned ones. Raises the ModelError or RequestError that a load would.
    """
    config = read_config(directory, name)
    yield from _compare_hash(directory / "model_config.json", name, "config_sha256")
    files = open_weights(directory)
    tensors = {key: info for file in files for key, info in file.tensors.items()}
    found = {key: (info.shape, info.dtype in FLOATING) for key, info in tensors.items()}
    check_keys(modules_of(config, name), found, str(directory))
    yield f"{len(found)} keys: every one is wanted and has the right shape, none is missing"
    for file in files:
        yield from _compare_hash(file.path, name, "weights_sha256")
    if is_autoencoder(config):
        _test_same(load_same(directory, name), name)
    else:
        load_model(directory, name)
    yield "a first run gives finite numbers"


def modules_of(config: Config, name: str) -> dict[str, nn.Module]:
    """Return what a config builds, without weights, by the key prefix of a checkpoint."""
    if is_autoencoder(config):
        return {"": build(lambda: Same(same_spec_of(config, name)))}
    spec = ModelSpec.from_config(config, name)
    return {
        DIT_PREFIX: build(lambda: DiT(spec.dit)),
        CONDITIONER_PREFIX: build(lambda: Conditioner(spec.conditioning)),
        SAME_PREFIX: build(lambda: Same(spec.same)),
    }


def adapter_faults(entry: AdapterEntry, directory: Path, name: str) -> list[str]:
    """Return what keeps an adapter from fitting a model; the model's weights are not read."""
    modules = modules_of(read_config(directory, name), name)
    if DIT_PREFIX not in modules:
        return [f"{name} is an autoencoder; adapters change the diffusion transformer"]
    layers = AdaptableLayers({"model.": modules[DIT_PREFIX], "": modules[CONDITIONER_PREFIX]})
    return layers.faults(read_adapter(entry))


@torch.inference_mode()
def _test_same(same: Same, name: str) -> None:
    audio = same.decode(torch.ones(1, same.spec.latent_dim, TEST_FRAMES))
    if not bool(torch.isfinite(audio).all() and torch.isfinite(same.encode(audio)).all()):
        raise ModelError(f"self-test of {name!r}: the autoencoder returns NaN or infinity", field="model")


def _compare_hash(path: Path, name: str, pinned: str) -> Iterator[str]:
    found = file_sha256(path)
    if name not in PUBLISHED:
        yield f"{path.name} has sha256 {found}"
        return
    wanted = getattr(PUBLISHED[name], pinned)
    if found != wanted:
        raise CheckpointMismatch(
            f"{path} is not the published file: its sha256 is {found}, published is {wanted}; "
            f"get it again with: {mending_command(name)}",
            value=str(path),
        )
    yield f"{path.name} is the published file (sha256 {found})"
