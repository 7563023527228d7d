"""Do clips sound like the words of their prompts, to a listener that is not ours? By musicnn's tags.

For every tag that some prompts ask for and some do not: how often a clip that was asked for it gets the higher
probability than one that was not (the area under the ROC curve; 0.5 is chance). Knows no model and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from sa3_training.evaluation.likeness import frechet_of
from sa3_training.evaluation.musicnn import Heard

WORDS: dict[str, tuple[str, ...]] = {
    "drums": ("drum", "beat", "kick", "snare", "percussion", "groove"),
    "beat": ("drum", "beat", "kick", "groove"),
    "techno": ("techno", "four on the floor"),
    "House": ("house",),
    "Hip-Hop": ("hip hop", "hip-hop", "trap", "boom bap"),
    "dance": ("house", "techno", "trance"),
    "funk": ("funk",),
    "ambient": ("ambient", "pad", "drone"),
    "slow": ("slow", "ambient", "pad"),
    "strings": ("strings", "pad", "violin", "cello"),
    "piano": ("piano", "keys"),
    "guitar": ("guitar",),
    "flute": ("flute",),
    "synth": ("synth", "saw"),
    "metal": ("metal",),
    "rock": ("rock",),
    "jazz": ("jazz",),
    "choir": ("choir",),
    "vocals": ("vocal", "voice", "singing"),
}
"""Tags and the parts of a prompt that ask for them."""


def obedience(prompts: Sequence[str], heard: Sequence[Heard]) -> dict[str, float]:
    """Return the area for every tag that can be judged, and their mean; nothing when none can."""
    found = {}
    for tag, words in WORDS.items():
        asked = [any(word in prompt.lower() for word in words) for prompt in prompts]
        if any(asked) and not all(asked):
            found[tag] = area(torch.tensor([clip.tags[tag] for clip in heard]), torch.tensor(asked))
    return {"mean_area": fmean(found.values()), **found} if found else {}


def area(values: Tensor, positive: Tensor) -> float:
    """Return the share of pairs of a positive and a negative in which the positive's value is higher; ties are half."""
    differences = values[positive][:, None] - values[~positive]
    return float((differences > 0).float().mean() + 0.5 * (differences == 0).float().mean())


def embedding_distance(made: Sequence[Heard], real: Sequence[Heard]) -> dict[str, float]:
    """Return the Fréchet distance of the embeddings, beside that of two halves of the real clips."""
    ours, theirs, even, odd = (
        torch.cat([clip.embeddings_BF for clip in group]) for group in (made, real, real[::2], real[1::2])
    )
    return {"frechet_of_embeddings": frechet_of(ours, theirs), "of_real_halves": frechet_of(even, odd)}
