"""Prompts are encoded at their first use, remembered in bounds, and forgotten with their encoder."""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from sa3_daw.generation import conditioning
from sa3_daw.generation.conditioning import REMEMBERED_TEXTS, text_states


class Encoder:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: list[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        self.texts += texts
        return torch.full((1, max_tokens, 2), float(len(texts[0]))), torch.ones(1, max_tokens, dtype=torch.bool)


def test_a_text_is_encoded_once_and_each_encoder_has_its_own() -> None:
    one, other = Encoder(), Encoder()
    first, again = text_states(one, "drums", 4), text_states(one, "drums", 4)
    assert first[0] is again[0] and one.texts == ["drums"]
    text_states(other, "drums", 4)
    text_states(one, "drums", 8)
    assert (one.texts, other.texts) == (["drums", "drums"], ["drums"])


def test_the_text_used_longest_ago_is_forgotten() -> None:
    encoder = Encoder()
    for number in range(REMEMBERED_TEXTS + 1):
        text_states(encoder, str(number), 4)
        text_states(encoder, "0", 4)
    assert encoder.texts == [str(number) for number in range(REMEMBERED_TEXTS + 1)]
    text_states(encoder, "1", 4)
    assert encoder.texts[-1] == "1" and len(encoder.texts) == REMEMBERED_TEXTS + 2


def test_an_encoder_that_goes_takes_its_texts_along() -> None:
    before = len(conditioning._remembered)
    encoder = Encoder()
    text_states(encoder, "drums", 4)
    assert len(conditioning._remembered) == before + 1
    del encoder
    gc.collect()
    assert len(conditioning._remembered) == before
