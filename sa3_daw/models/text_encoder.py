"""The embedded text encoder: all-MiniLM-L6-v2 from int8 weights. Knows no diffusion model and no prompt rule.

A BERT of 6 layers, 384 wide. The token table is stored as int8 with a scale per row and stays so in memory (12 MB
instead of 47); the layers' matrices are int8 with a scale per 128 columns of a row and are widened once, at load.
Shapes: B batch, L text tokens, D width, H heads, E head width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from einops import rearrange
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.checkpoint import build, read_tensors
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing

CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"

TABLE_KEY = "words.weight"

MAX_CHARACTERS = 8192
"""512 tokens hold about 2500 characters of prose; tokenising the rest of a megabyte would take a second."""


@dataclass(frozen=True)
class Sizes:
    """The shape of one encoder: exactly the keys of its config.json."""

    vocabulary: int
    positions: int
    width: int
    depth: int
    heads: int
    inner: int
    layer_norm_eps: float


class Int8Table(nn.Module):
    """A lookup table held in int8 with one scale per row."""

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", torch.zeros(num_rows, width, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(num_rows, 1))

    def forward(self, index: Tensor) -> Tensor:
        return self.weight[index].float() * self.scale[index]


class Layer(nn.Module):
    """One BERT layer; the norms come after the sums. Source: BERT (arXiv 1810.04805)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.num_heads = sizes.heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.attention_norm = nn.LayerNorm(sizes.width, sizes.layer_norm_eps)
        self.up = nn.Linear(sizes.width, sizes.inner)
        self.down = nn.Linear(sizes.inner, sizes.width)
        self.output_norm = nn.LayerNorm(sizes.width, sizes.layer_norm_eps)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x_BLD), "b l (three h e) -> three b h l e", three=3, h=self.num_heads)
        attended_BHLE = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None, :])
        x_BLD = self.attention_norm(x_BLD + self.out(rearrange(attended_BHLE, "b h l e -> b l (h e)")))
        result: Tensor = self.output_norm(x_BLD + self.down(F.gelu(self.up(x_BLD))))
        return result


class MiniLM(nn.Module):
    """Text -> the last hidden state of every token."""

    def __init__(self, sizes: Sizes, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokenizer = tokenizer
        self.words = Int8Table(sizes.vocabulary, sizes.width)
        self.positions = nn.Parameter(torch.zeros(sizes.positions, sizes.width))
        self.norm = nn.LayerNorm(sizes.width, sizes.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))

    @classmethod
    def from_directory(cls, directory: Path) -> MiniLM:
        """Load a folder of config.json, tokenizer.json and safetensors; the weights end up frozen.

        Raises CheckpointMissing, or CheckpointMismatch naming the file and every key that does not fit.
        """
        sizes = _read_sizes(directory / CONFIG_FILE)
        tokenizer = _read_tokenizer(directory / TOKENIZER_FILE, sizes.vocabulary)
        encoder = build(lambda: cls(sizes, tokenizer))
        wanted = encoder.state_dict()
        state = _widen_layers(read_tensors(directory))
        _check_fit(state, wanted, str(directory))
        encoder.load_state_dict(state, assign=True)
        return encoder.requires_grad_(False).eval()

    @torch.no_grad()
    def encode(self, texts: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return states [B, max_tokens, D] float32 and mask [B, max_tokens], True at real tokens.

        Padding is on the right and zero. A longer text is cut on the right, its closing token kept, at
        ``max_tokens`` or at the positions the encoder has learned. At least one text; any text, also "".
        """
        rows = [self._tokens(text, min(max_tokens, self.sizes.positions)) for text in texts]
        longest = max(len(row) for row in rows)
        index_BL = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask_BL = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        states_BLD = self(index_BL, mask_BL) * mask_BL[..., None]
        padding = max_tokens - longest
        return F.pad(states_BLD, (0, 0, 0, padding)), F.pad(mask_BL, (0, padding))

    def forward(self, index_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Token ids -> states [B, L, D]; what stands at masked places is undefined."""
        x_BLD: Tensor = self.norm(self.words(index_BL) + self.positions[: index_BL.shape[1]])
        for layer in self.layers:
            x_BLD = layer(x_BLD, mask_BL)
        return x_BLD

    def _tokens(self, text: str, max_tokens: int) -> list[int]:
        # A lone surrogate is no Unicode text; the tokenizer would refuse the whole prompt for it.
        valid = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        tokens: list[int] = self.tokenizer.encode(valid).ids
        return tokens if len(tokens) <= max_tokens else [*tokens[: max_tokens - 1], tokens[-1]]


def _read_sizes(path: Path) -> Sizes:
    known = {field.name for field in fields(Sizes)}
    try:
        config = json.loads(_read_text(path))
    except ValueError as error:
        raise CheckpointMismatch(f"{path} is not JSON: {error}", value=str(path)) from error
    if not isinstance(config, dict) or config.keys() != known:
        raise CheckpointMismatch(f"{path} must be an object of the keys {sorted(known)}", value=str(path))
    return Sizes(**config)


def _read_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    text = _read_text(path)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing more exact
        raise CheckpointMismatch(f"{path} is not a tokenizer: {error}", value=str(path)) from error
    if tokenizer.get_vocab_size() != vocabulary:
        raise CheckpointMismatch(
            f"{path} knows {tokenizer.get_vocab_size()} tokens, {CONFIG_FILE} says {vocabulary}", value=str(path)
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_text(path: Path) -> str:
    if not path.exists():
        raise CheckpointMissing(f"{path} does not exist", value=str(path))
    return path.read_text("utf-8")


def _widen_layers(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``stored`` with all but the table as float32, each matrix times its scales.

    A scale that fits no matrix is left in, to be reported as unexpected.
    """
    state = {key: tensor if key == TABLE_KEY else tensor.float() for key, tensor in stored.items()}
    for scale_key in stored:
        key = scale_key.removesuffix("scale") + "weight"
        if not scale_key.endswith(".scale") or key == TABLE_KEY or key not in state:
            continue
        matrix, scale = state[key], state[scale_key]
        per_column = scale.repeat_interleave(matrix.shape[-1] // scale.shape[-1], dim=-1)
        if per_column.shape == matrix.shape:
            state[key] = matrix * per_column
            del state[scale_key]
    return state


def _check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    faults = [f"{key} is missing" for key in sorted(wanted.keys() - state.keys())]
    faults += [f"{key} is unexpected" for key in sorted(state.keys() - wanted.keys())]
    faults += [
        f"{key} is {state[key].dtype} {list(state[key].shape)}, wanted {tensor.dtype} {list(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and (state[key].shape, state[key].dtype) != (tensor.shape, tensor.dtype)
    ]
    if faults:
        raise CheckpointMismatch(f"{source} does not fit its {CONFIG_FILE}: {'; '.join(faults)}", value=source)
