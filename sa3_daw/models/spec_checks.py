"""Refuses specs that could be built but not run, naming the config's key. Knows no config's layout, imports no torch.

What passes here and has fitting weights runs: every size is one, heads and chunks divide what they share, parts fit.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from sa3_daw.errors import shorten

if TYPE_CHECKING:
    from sa3_daw.models.specs import ConditioningSpec, DiTSpec, ModelSpec, SameSpec, SameStageSpec

LARGEST_SIZE = 1 << 20
LARGEST_SIZES = {"depth": 256, "num_heads": 1024, "max_num_samples": 1 << 40}
"""Far above every published model; a config beyond them is damaged or hostile."""

LEAST_DIT_HEAD = 32
"""Channels of a DiT's head that are rotated in any case."""


def check_types(spec: object) -> None:
    """Raise ValueError for a value of the wrong type and for sizes that no model has, in the parts as well."""
    for field in fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        if is_dataclass(value):
            check_types(value)
        largest = LARGEST_SIZES.get(field.name, LARGEST_SIZE)
        if field.type == "int":
            is_size = type(value) is int and 0 <= value <= largest
            require(is_size, field.name, value, f"whole numbers from 0 to {largest}")
        elif field.type == "float":
            is_small = type(value) in (int, float) and abs(value) <= largest
            require(is_small, field.name, value, f"numbers from -{largest} to {largest}")
        elif field.type == "bool":
            require(type(value) is bool, field.name, value, "true or false")
        elif field.type == "str":
            require(type(value) is str, field.name, value, "a text")


def check_same(spec: SameSpec) -> None:
    """Raise ValueError where an autoencoder's values do not fit each other; their types are right."""
    encoder, decoder = spec.encoder, spec.decoder
    require(spec.audio_channels == 2, "channels", spec.audio_channels, "2")
    require(spec.patch_samples > 0, "patch_size", spec.patch_samples, "at least 1")
    require(spec.latent_dim > 0, "latent_dim", spec.latent_dim, "at least 1")
    for stage in (encoder, decoder):
        _check_stage(stage)
    require(decoder.stride == encoder.stride, "strides", [decoder.stride], f"[{encoder.stride}], as in the encoder")
    at_once = spec.frame_alignment * spec.encoder.stride
    fits = not (encoder.depth and encoder.chunk_patches) or at_once % encoder.chunk_patches == 0
    require(fits, "the encoder's chunk_size", encoder.chunk_patches, f"divisors of the decoder's {at_once}")
    if encoder.lapped or decoder.lapped:
        require(spec.patch_samples % 2 == 0, "patch_size", spec.patch_samples, "even numbers where lapped")


def _check_stage(spec: SameStageSpec) -> None:
    require(spec.stride > 0, "strides", [spec.stride], "at least 1")
    require(spec.depth > 0 or spec.lapped, "transformer_depths", [spec.depth], "at least 1, or lapped true")
    if not spec.depth:
        return
    require(spec.width > 0, "channels times c_mults", spec.width, "at least 1")
    fits = spec.head_dim > 0 and spec.width % spec.head_dim == 0
    require(fits, "dim_heads", spec.head_dim, f"divisors of the width {spec.width}")
    require(spec.ff_mult > 0, "ff_mult", spec.ff_mult, "at least 1")
    is_window = all(type(frames) is int and 0 <= frames <= LARGEST_SIZE for frames in spec.window_frames)
    require(is_window, "sliding_window", list(spec.window_frames), f"whole numbers from 0 to {LARGEST_SIZE}")
    if spec.chunk_patches == 0:
        return
    # Shifted chunks begin in the middle of one, between two of its stride + 1 tokens a frame.
    step = 2 * spec.stride if spec.midpoint_shift and spec.stride % 2 == 0 else spec.stride
    fits = spec.chunk_patches % step == 0
    shifted = " with chunk_midpoint_shift" if step != spec.stride else ""
    require(fits, "chunk_size", spec.chunk_patches, f"multiples of {step} at strides [{spec.stride}]{shifted}")


def check_dit(spec: DiTSpec) -> None:
    """Raise ValueError where a DiT's values do not fit each other; their types are right."""
    require(spec.latent_dim > 0, "io_channels", spec.latent_dim, "at least 1")
    fits = spec.num_heads > 0 and spec.width % spec.num_heads == 0 and spec.head_dim >= LEAST_DIT_HEAD
    require(
        fits,
        "num_heads",
        spec.num_heads,
        f"divisors of embed_dim {spec.width} that leave {LEAST_DIT_HEAD} channels or more",
    )
    is_paired = spec.timestep_dim > 0 and spec.timestep_dim % 2 == 0
    require(is_paired, "timestep_features_dim", spec.timestep_dim, "even numbers from 2")
    require(spec.ff_mult * spec.width >= 1, "ff_kwargs mult", spec.ff_mult, f"at least 1 / embed_dim {spec.width}")


def check_model(spec: ModelSpec) -> None:
    """Raise ValueError where a whole model's values do not fit each other; their types are right."""
    check_same(spec.same)
    check_dit(spec.dit)
    dit, conditioning = spec.dit, spec.conditioning
    require(spec.sample_rate > 0, "sample_rate", spec.sample_rate, "at least 1")
    require(spec.max_num_samples > 0, "sample_size", spec.max_num_samples, "at least 1")
    require(spec.default_steps > 0, "steps", spec.default_steps, "at least 1")
    require(spec.headroom_seconds >= 0, "headroom_seconds", spec.headroom_seconds, "0 or more")
    require(0 <= spec.lowest_level < 1, "lowest_level", spec.lowest_level, "0 or more and below 1")
    same_dim = spec.same.latent_dim
    require(dit.latent_dim == same_dim, "io_channels", dit.latent_dim, f"{same_dim}, the autoencoder's latent_dim")
    cond_dim = conditioning.cond_dim
    require(dit.cond_dim == cond_dim, "cond_token_dim", dit.cond_dim, f"{cond_dim}, the conditioning's cond_dim")
    require(dit.global_dim == cond_dim, "global_cond_dim", dit.global_dim, f"{cond_dim}, the conditioning's cond_dim")
    _check_conditioning(conditioning)


def _check_conditioning(spec: ConditioningSpec) -> None:
    require(spec.cond_dim > 0, "cond_dim", spec.cond_dim, "at least 1")
    require(spec.max_tokens > 0, "max_length", spec.max_tokens, "at least 1")
    require(spec.max_seconds > spec.min_seconds, "max_val", spec.max_seconds, f"above min_val {spec.min_seconds}")
    folder = PurePath(spec.text_encoder_folder)
    is_inside = not folder.is_absolute() and ".." not in folder.parts
    require(is_inside, "subfolder", spec.text_encoder_folder, "a folder inside the model's")


def require(fits: bool, key: str, value: object, allowed: str) -> None:
    """Raise ValueError with the key, its value and what is allowed, unless it fits."""
    if not fits:
        raise ValueError(f"{key} is {shorten(value)}; allowed: {allowed}")
