"""A random T5Gemma of two layers and a tokenizer of words, saved as the published folder is. Knows no test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration
from transformers.utils import logging

WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "warm", "pad", "dry", "kick", "with", "a", "long", "tail")
WIDTH = 24


def write_t5gemma(folder: Path, dtype: torch.dtype = torch.float32) -> T5GemmaForConditionalGeneration:
    """Write the whole encoder-decoder, as published, and return it."""
    sizes = {
        "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 8,
        "intermediate_size": 40, "vocab_size": len(WORDS), "query_pre_attn_scalar": 8, "sliding_window": 4096,
    }  # fmt: skip
    torch.manual_seed(0)
    logging.disable_progress_bar()
    config = T5GemmaConfig(encoder=dict(sizes), decoder=dict(sizes), vocab_size=len(WORDS))
    model = T5GemmaForConditionalGeneration(config).to(dtype).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return model
