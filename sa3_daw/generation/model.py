"""A model ready to run: spec, modules and text encoder, loaded strictly and self-tested. Knows no job."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sa3_daw.checkpoint import build, load_strict, read_tensors
from sa3_daw.converted import ConvertedCopies
from sa3_daw.errors import CheckpointMismatch, ModelError
from sa3_daw.generation.adapters import AdapterRack, KeptBases
from sa3_daw.generation.beat_grid import BEAT_GRID_DIM
from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.gpu import compute_exactly
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.precision import (
    PLAIN,
    PrecisionChoice,
    apply_precision,
    converted_form,
    converted_weights,
    take_compilation_off,
)
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec, is_autoencoder, read_config, same_spec_of
from sa3_daw.models.text_encoder import MiniLM
from sa3_daw.published import mending_command
from sa3_daw.weight_files import open_weights

log = logging.getLogger(__name__)

EMBEDDED_TEXT_ENCODER = Path(__file__).parent.parent / "embedded" / "text_encoder"

DIT_PREFIX = "model.model."
CONDITIONER_PREFIX = "conditioner."
SAME_PREFIX = "pretransform.model."


class TextEncoder(Protocol):
    """Turns prompts into token states."""

    def encode(self, texts: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return states [B, max_tokens, D] and mask [B, max_tokens], True at real tokens."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """Everything one generation needs, resident in memory."""

    spec: ModelSpec
    dit: DiT
    graphed: GraphedDiT
    conditioner: Conditioner
    same: Same
    text_encoder: TextEncoder
    adapters: AdapterRack


def load_model(
    directory: Path,
    name: str,
    adapters_dir: Path | None = None,
    choice: PrecisionChoice = PLAIN,
    copies: ConvertedCopies | None = None,
) -> LoadedModel:
    """Load a model folder in the published layout and self-test it; jobs may use the adapters of ``adapters_dir``.

    With ``copies`` the weights of a precision are converted once and then read from there.
    Raises CheckpointMissing, CheckpointMismatch or ModelError, each with the command that mends it, or Unsupported.
    """
    try:
        return _load(directory, name, adapters_dir, choice, copies)
    except ModelError as error:
        message = f"{error.message}; run: {mending_command(name)}"
        raise type(error)(message, field="model", value=error.value or name) from error


def _load(
    directory: Path, name: str, adapters_dir: Path | None, choice: PrecisionChoice, copies: ConvertedCopies | None
) -> LoadedModel:
    spec = ModelSpec.from_directory(directory, name)
    text_encoder = load_text_encoder(spec, directory, choice.device)
    dit, conditioner, same = _load_modules(spec, directory)
    converted, sources = None, [file.path for file in open_weights(directory)]
    if copies is not None and choice.precision != "fp32":
        form = converted_form(choice.precision)
        converted = copies.read(sources, form)
        if converted is None and copies.write(sources, form, lambda: converted_weights(dit, same, choice.precision)):
            converted = copies.read(sources, form)
            dit, conditioner, same = _load_modules(spec, directory)  # converting has read every page of the others
    if choice.device == "cuda":
        compute_exactly()
    apply_precision(dit, same, choice, converted)
    bases = KeptBases(copies, sources, choice.precision) if copies is not None else None
    rack = AdapterRack({"model.": dit, "": conditioner}, name, adapters_dir, bases)
    model = LoadedModel(spec, dit, GraphedDiT(dit), conditioner, same, text_encoder, rack)
    try:
        self_test(model)
    except RuntimeError as error:
        if not choice.compile:
            raise
        log.warning("model %r runs uncompiled, torch cannot compile here: %.300s", name, error)
        take_compilation_off(dit, same)
        self_test(model)
    return model


def _load_modules(spec: ModelSpec, directory: Path) -> tuple[DiT, Conditioner, Same]:
    dit = build(lambda: DiT(spec.dit))
    conditioner = build(lambda: Conditioner(spec.conditioning))
    same = build(lambda: Same(spec.same))
    modules = {DIT_PREFIX: dit, CONDITIONER_PREFIX: conditioner, SAME_PREFIX: same}
    load_strict(modules, read_tensors(directory), str(directory))
    return dit, conditioner, same


def load_text_encoder(spec: ModelSpec, directory: Path, device: str = "cpu") -> TextEncoder:
    """Load the embedded encoder, or the one in a published model's folder onto ``device``; states lie on the CPU."""
    if spec.conditioning.text_encoder == "minilm":
        return MiniLM.from_directory(EMBEDDED_TEXT_ENCODER)
    from sa3_daw.models.t5gemma import T5Gemma

    return T5Gemma.from_directory(directory / spec.conditioning.text_encoder_folder, device)


def load_same(directory: Path, name: str) -> Same:
    """Load the autoencoder of a whole model's folder, or of one that holds nothing else (SAME-S, SAME-L).

    Raises CheckpointMissing, CheckpointMismatch or Unsupported.
    """
    config = read_config(directory, name)
    same = build(lambda: Same(same_spec_of(config, name)))
    prefix = "" if is_autoencoder(config) else SAME_PREFIX
    tensors = {key: tensor for key, tensor in read_tensors(directory).items() if key.startswith(prefix)}
    load_strict({prefix: same}, tensors, str(directory))
    return same


@torch.inference_mode()
def self_test(model: LoadedModel) -> None:
    """Run one tiny forward pass of every part. Raises ModelError when a value is not finite.

    Raises CheckpointMismatch where the spec does not fit what stands outside the weights: text encoder and beat grid.
    """
    spec = model.spec
    frames = 2 * spec.same.frame_alignment
    states, mask = model.text_encoder.encode(["test"], spec.conditioning.max_tokens)
    for key, dim, allowed in (
        ("cond_dim", spec.conditioning.cond_dim, (states.shape[-1],)),
        ("local_add_cond_dim less io_channels + 1", spec.conditioning.beat_grid_dim, (0, BEAT_GRID_DIM)),
    ):
        if dim not in allowed:
            raise CheckpointMismatch(f"{key} of {spec.name!r} is {dim}; allowed: {' or '.join(map(str, allowed))}")
    context, global_ = model.conditioner(states, mask, torch.tensor([1.0]))
    local = torch.zeros(1, spec.dit.local_dim, frames)
    prepared = model.dit.prepare(Conditioning(context, global_, local))
    velocity = model.dit(torch.ones(1, spec.dit.latent_dim, frames), torch.tensor([0.5]), prepared)
    audio = model.same.decode(velocity)
    latents = model.same.encode(audio)
    for what, tensor in (("DiT", velocity), ("SAME decoder", audio), ("SAME encoder", latents)):
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"self-test of {spec.name!r}: the {what} returns NaN or infinity", field="model")
