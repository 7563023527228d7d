"""What a model is: frozen values read from its ``model_config.json``. Knows no weights and imports no torch.

The config format is the published one. Keys that the published inference code never reads are tolerated
and ignored; a config that asks for something we do not build is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sa3_daw.errors import CheckpointMismatch, CheckpointMissing, Unsupported
from sa3_daw.models.spec_checks import check_model, check_same, check_types, require

Config = dict[str, Any]
AnySpec = TypeVar("AnySpec")

SAMPLERS = ("pingpong", "euler", "dpmpp", "rk4")
DEFAULT_SAMPLER = {"rf_denoiser": "pingpong", "rectified_flow": "euler"}

MUSIC_PREFIX = "TrackType: Music, VocalType: Instrumental, "
SFX_PREFIX = "TrackType: SFX, "
PROMPT_PREFIXES = {
    "stabilityai/stable-audio-3-small-music": MUSIC_PREFIX,
    "stabilityai/stable-audio-3-small-sfx": SFX_PREFIX,
    "stabilityai/stable-audio-3-medium": MUSIC_PREFIX,
}
"""What the published models' captions began with, by the repository that a config names for its text encoder."""

PREFIX_MARK = "tracktype:"


@dataclass(frozen=True)
class SameStageSpec:
    """One side (encoder or decoder) of a SAME autoencoder.

    Exactly one attention pattern: ``chunk_patches`` > 0 (SAME-S: chunks, half of the layers shifted when
    ``midpoint_shift``) or ``window_frames`` (SAME-L: a band of that many latent frames left and right).
    ``token_noise`` is the published standard deviation of the noise on the query tokens; it is applied
    only when a generator is given, never at inference by default.
    ``lapped`` (nano only) adds a linear path over two overlapping frames: with ``depth`` 0 it is the whole path,
    else an encoder adds the transformer's latents to its own and a decoder's transformer shapes its spectra.
    """

    width: int
    depth: int
    head_dim: int
    ff_mult: int
    stride: int
    chunk_patches: int
    midpoint_shift: bool
    window_frames: tuple[int, int]
    num_sinusoidal: int
    mapping_kernel: int
    token_noise: float
    lapped: bool


@dataclass(frozen=True)
class SameSpec:
    """A SAME autoencoder: audio [B, 2, S] <-> latents [B, latent_dim, S / samples_per_frame]."""

    patch_samples: int
    audio_channels: int
    latent_dim: int
    encoder: SameStageSpec
    decoder: SameStageSpec

    @property
    def samples_per_frame(self) -> int:
        """Model-rate samples in one latent frame (4096 in the published models)."""
        return self.patch_samples * self.encoder.stride

    @property
    def patch_dim(self) -> int:
        """Channels of one patch: both audio channels, one after the other."""
        return self.patch_samples * self.audio_channels

    @property
    def frame_alignment(self) -> int:
        """Latent counts and chunk starts must be multiples of this (2 in SAME-S, 1 in SAME-L)."""
        return max(1, self.decoder.chunk_patches // self.decoder.stride)


@dataclass(frozen=True)
class DiTSpec:
    """A diffusion transformer over latent frames. ``local_dim`` counts the channels of the local conditioning."""

    latent_dim: int
    width: int
    depth: int
    num_heads: int
    cond_dim: int
    global_dim: int
    local_dim: int
    timestep_dim: int
    ff_mult: float
    num_memory_tokens: int
    differential: bool

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads


@dataclass(frozen=True)
class ConditioningSpec:
    """Text and duration conditioning. ``text_encoder`` is ``t5gemma`` or ``minilm`` (embedded).

    ``text_encoder_folder`` holds a t5gemma encoder inside the model's folder. ``prompt_prefix`` stands before
    every prompt that the model was trained on.
    """

    text_encoder: str
    text_encoder_folder: str
    prompt_prefix: str
    cond_dim: int
    max_tokens: int
    min_seconds: float
    max_seconds: float
    beat_grid_dim: int


@dataclass(frozen=True)
class ModelSpec:
    """Everything about one model that is not a weight.

    ``max_num_samples`` counts samples at ``sample_rate``. ``headroom_seconds`` is generated beyond the
    asked length and cut away, as the published models were trained (6 s); nano has none. ``lowest_level`` is the noise
    level down to which the model was trained; lower ones are told to it as this one.
    """

    name: str
    sample_rate: int
    max_num_samples: int
    objective: str
    default_steps: int
    default_guidance_scale: float
    headroom_seconds: float
    lowest_level: float
    same: SameSpec
    dit: DiTSpec
    conditioning: ConditioningSpec

    @property
    def sampler(self) -> str:
        """Name of the model's default sampler."""
        return DEFAULT_SAMPLER[self.objective]

    @property
    def samplers(self) -> tuple[str, ...]:
        """Every sampler that a job may ask for; they all predict from the same velocity."""
        return SAMPLERS

    @property
    def default_apg_scale(self) -> float:
        """How much of the guidance is projected, as published."""
        return 1.0

    def full_prompt(self, prompt: str) -> str:
        """Return the prompt as the model wants it: its prefix once, unless the prompt brings tags of its own.

        An empty prompt stays empty: it asks for what the model makes without words.
        """
        tagged = prompt.strip().lower().startswith(PREFIX_MARK)
        return prompt if tagged or not prompt.strip() else self.conditioning.prompt_prefix + prompt

    @property
    def samples_per_frame(self) -> int:
        """Model-rate samples in one latent frame."""
        return self.same.samples_per_frame

    @classmethod
    def from_config(cls, config: Config, name: str) -> ModelSpec:
        """Read a published-format config. Raises CheckpointMismatch or Unsupported, naming the key."""
        return _understood(lambda: _model_spec(config, name), check_model, name)

    @classmethod
    def from_directory(cls, directory: Path, name: str) -> ModelSpec:
        """Read ``directory/model_config.json``. Raises CheckpointMissing, CheckpointMismatch, Unsupported."""
        return cls.from_config(read_config(directory, name), name)


def read_config(directory: Path, name: str) -> Config:
    """Read ``directory/model_config.json``. Raises CheckpointMissing or CheckpointMismatch."""
    path = directory / "model_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointMissing(f"{path} does not exist", field=name, value=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointMismatch(f"{path} is not JSON: {error}", field=name, value=str(path)) from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointMismatch(f"{path} describes no model", field=name, value=str(path))
    return config


def _understood(read: Callable[[], AnySpec], check: Callable[[AnySpec], None], name: str) -> AnySpec:
    try:
        spec = read()
        check_types(spec)
        check(spec)
        return spec
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise CheckpointMismatch(f"model_config.json of {name!r} cannot be used: {reason}", field=name) from error


def same_spec_of(config: Config, name: str) -> SameSpec:
    """Read the autoencoder of a whole model's config, or of one that describes nothing else."""

    def read() -> SameSpec:
        return same_spec(config["model"] if is_autoencoder(config) else config["model"]["pretransform"]["config"])

    return _understood(read, check_same, name)


def is_autoencoder(config: Config) -> bool:
    """Say whether a config describes an autoencoder alone (SAME-S, SAME-L) rather than a whole model."""
    return "encoder" in config["model"]


def _model_spec(config: Config, name: str) -> ModelSpec:
    model = config["model"]
    diffusion = model["diffusion"]
    objective = diffusion["diffusion_objective"]
    if objective not in DEFAULT_SAMPLER:
        raise Unsupported(f"diffusion_objective {objective!r}; known: {sorted(DEFAULT_SAMPLER)}")
    same = same_spec(model["pretransform"]["config"])
    conditioning = _conditioning_spec(model["conditioning"], diffusion)
    defaults = config.get("sa3_daw", {})
    distilled = objective == "rf_denoiser"
    return ModelSpec(
        name=name,
        sample_rate=config["sample_rate"],
        max_num_samples=config["sample_size"],
        objective=objective,
        default_steps=defaults.get("steps", 8 if distilled else 50),
        default_guidance_scale=defaults.get("guidance_scale", 1.0 if distilled else 7.0),
        headroom_seconds=defaults.get("headroom_seconds", 6.0),
        lowest_level=defaults.get("lowest_level", 0.0),
        same=same,
        dit=dit_spec(diffusion["config"]),
        conditioning=conditioning,
    )


def _conditioning_spec(conditioning: Config, diffusion: Config) -> ConditioningSpec:
    by_id = {entry["id"]: entry for entry in conditioning["configs"]}
    prompt, seconds = by_id["prompt"], by_id["seconds_total"]
    if prompt["type"] not in ("t5gemma", "minilm"):
        raise Unsupported(f"text conditioner {prompt['type']!r}; known: minilm, t5gemma")
    if prompt["config"]["padding_mode"] != "learned":
        raise Unsupported(f"padding_mode {prompt['config']['padding_mode']!r}; known: learned")
    local_ids = diffusion["local_add_cond_ids"]
    known = ["inpaint_mask", "inpaint_masked_input"]
    if local_ids not in (known, [*known, "beat_grid"]):
        raise Unsupported(f"local_add_cond_ids {local_ids}; known: {known}, with or without 'beat_grid' last")
    sizes = diffusion["config"]
    beat_grid_dim = sizes["local_add_cond_dim"] - sizes["io_channels"] - 1
    fits = beat_grid_dim > 0 if "beat_grid" in local_ids else beat_grid_dim == 0
    require(fits, "local_add_cond_dim", sizes["local_add_cond_dim"], "io_channels + 1, and more with a beat_grid only")
    return ConditioningSpec(
        text_encoder=prompt["type"],
        text_encoder_folder=prompt["config"].get("subfolder", ""),
        prompt_prefix=PROMPT_PREFIXES.get(prompt["config"].get("repo_id", ""), ""),
        cond_dim=conditioning["cond_dim"],
        max_tokens=prompt["config"]["max_length"],
        min_seconds=seconds["config"]["min_val"],
        max_seconds=seconds["config"]["max_val"],
        beat_grid_dim=beat_grid_dim,
    )


def dit_spec(config: Config) -> DiTSpec:
    """Read a DiT ``config`` block."""
    if config["global_cond_type"] != "adaLN" or config["timestep_features_type"] != "expo":
        raise Unsupported("only adaLN global conditioning with expo timestep features is built")
    if config["attn_kwargs"]["qk_norm"] != "rms" or config.get("timestep_features_logsnr", False):
        raise Unsupported("only qk_norm 'rms' without timestep_features_logsnr is built")
    return DiTSpec(
        latent_dim=config["io_channels"],
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        cond_dim=config["cond_token_dim"],
        global_dim=config["global_cond_dim"],
        local_dim=config["local_add_cond_dim"],
        timestep_dim=config.get("timestep_features_dim", 256),
        ff_mult=config["ff_kwargs"]["mult"],
        num_memory_tokens=config["num_memory_tokens"],
        differential=config["attn_kwargs"]["differential"],
    )


def same_spec(config: Config) -> SameSpec:
    """Read an autoencoder ``config`` block (the one that holds ``encoder`` and ``decoder``)."""
    patching = config["pretransform"]["config"]
    bottleneck = config["bottleneck"]
    if bottleneck["type"] != "softnorm" or not bottleneck["config"]["auto_scale"]:
        raise Unsupported("only the softnorm bottleneck with auto_scale is built")
    return SameSpec(
        patch_samples=patching["patch_size"],
        audio_channels=patching["channels"],
        latent_dim=config["latent_dim"],
        encoder=_stage_spec(config["encoder"]["config"]),
        decoder=_stage_spec(config["decoder"]["config"]),
    )


def _stage_spec(config: Config) -> SameStageSpec:
    """Absent keys mean the published constructor defaults (SPEC 1.3)."""
    if len(config["strides"]) != 1:
        raise Unsupported(f"strides {config['strides']}; only one resampling block per side is built")
    if not config.get("differential", True) or not config.get("dyt", True):
        raise Unsupported("only differential attention with DyT norms is built for SAME")
    if not config.get("variable_stride", False):
        raise Unsupported("only variable_stride (one shared query token) is built")
    width = config["c_mults"][0] * config["channels"]
    window = config.get("sliding_window")
    return SameStageSpec(
        width=width,
        depth=config["transformer_depths"][0],
        head_dim=min(config.get("dim_heads", 128), width),
        ff_mult=config.get("ff_mult", 3),
        stride=config["strides"][0],
        chunk_patches=0 if window else config.get("chunk_size", 128),
        midpoint_shift=config.get("chunk_midpoint_shift", False),
        window_frames=(window[0], window[1]) if window else (0, 0),
        num_sinusoidal=config.get("sinusoidal_blocks", [0])[0],
        mapping_kernel=3 if config.get("conv_mapping", False) else 1,
        token_noise=config.get("mask_noise", 0.0),
        lapped=config.get("lapped", False),
    )
