"""The published models' text encoder: T5Gemma's encoder through transformers. Knows no diffusion model, no prompt rule.

transformers is imported when an encoder is loaded, not before. Each prompt runs alone and unpadded: padded positions
are no keys for anyone, so the states are those of the published padded run, at a ninth of its cost for a short prompt.
Shapes: B batch, L text tokens, D width. Source: SPEC 2.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.errors import CheckpointMismatch, CheckpointMissing, ModelError
from sa3_daw.tensor_files import TensorFile

CONFIG_FILE, TOKENIZER_FILE, TENSORS_FILE = "config.json", "tokenizer.json", "model.safetensors"

MAX_CHARACTERS = 8192
"""256 tokens hold about 1200 characters of prose; tokenising the rest of a megabyte would take a second."""


class T5Gemma(nn.Module):
    """Text -> the last hidden state of every token. A module, so that what counts a model's weights finds its own."""

    def __init__(self, encoder: Any, tokenizer: Tokenizer) -> None:
        """``encoder`` is transformers' T5GemmaEncoderModel."""
        super().__init__()
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._width = int(encoder.config.encoder.hidden_size)

    @classmethod
    def from_directory(cls, directory: Path, device: str = "cpu") -> T5Gemma:
        """Load the encoder's half of a t5gemma folder onto ``device``, in the precision on disk; no network, no pickle.

        Raises ModelError without transformers, CheckpointMissing or CheckpointMismatch for a folder that is not whole.
        """
        for name in (CONFIG_FILE, TOKENIZER_FILE, TENSORS_FILE):
            if not (directory / name).is_file():
                raise CheckpointMissing(f"{directory / name} does not exist", value=str(directory))
        TensorFile.open(directory / TENSORS_FILE)
        return cls(_load_encoder(directory).to(device), _read_tokenizer(directory / TOKENIZER_FILE))

    def encode(self, texts: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return states [B, max_tokens, D] float32 and mask [B, max_tokens], True at real tokens.

        Padding is on the right and zero; a longer text is cut on the right. No start or end token is added, so an
        empty text has no token at all.
        """
        states = [self._states(self._tokens(text, max_tokens)) for text in texts]
        padded = [F.pad(state_LD, (0, 0, 0, max_tokens - len(state_LD))) for state_LD in states]
        lengths = torch.tensor([len(state_LD) for state_LD in states])
        return torch.stack(padded), torch.arange(max_tokens) < lengths[:, None]

    def _tokens(self, text: str, max_tokens: int) -> tuple[int, ...]:
        # A lone surrogate is no Unicode text; the tokenizer would refuse the whole prompt for it.
        valid = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        return tuple(self._tokenizer.encode(valid, add_special_tokens=False).ids[:max_tokens])

    @torch.no_grad()
    def _states(self, tokens: tuple[int, ...]) -> Tensor:
        """Return [L, D] float32."""
        if not tokens:
            return torch.zeros(0, self._width)
        index_BL = torch.tensor([tokens], device=self._encoder.device)
        output = self._encoder(input_ids=index_BL, attention_mask=torch.ones_like(index_BL))
        states_LD: Tensor = output.last_hidden_state[0]
        return states_LD.float().cpu()


def _load_encoder(directory: Path) -> Any:
    try:
        from huggingface_hub.errors import StrictDataclassError
        from transformers import T5GemmaConfig, T5GemmaEncoderModel
        from transformers.utils import logging
    except (ImportError, OSError) as error:  # OSError: a package that transformers imports cannot load its library
        raise ModelError(
            f"{directory} needs the package transformers, which cannot be imported ({error}); "
            "run: pip install 'sa3-daw[published]'"
        ) from error
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # the decoder's half is left out on purpose, tensor by tensor
    try:
        config = T5GemmaConfig.from_pretrained(directory, local_files_only=True)
        config.is_encoder_decoder = False
        encoder, report = T5GemmaEncoderModel.from_pretrained(
            directory, config=config, dtype="auto", local_files_only=True, use_safetensors=True,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, AttributeError, StrictDataclassError) as error:
        raise CheckpointMismatch(f"{directory} is no T5Gemma folder: {error}", value=str(directory)) from error
    faults = [f"{key} is missing" for key in sorted(report["missing_keys"])]
    faults += [f"{key} is misshapen" for key, *_ in sorted(report["mismatched_keys"])]
    if faults:
        raise CheckpointMismatch(
            f"{directory} does not fit its {CONFIG_FILE}: {'; '.join(faults)}", value=str(directory)
        )
    return encoder.requires_grad_(False).eval()


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more exact
        raise CheckpointMismatch(f"{path} is not a tokenizer: {error}", value=str(path)) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
