"""Any recipe of nano at a size that takes minutes on any machine: every stage, every file, no music. Knows no stage.

For tests, and to see that all is there before a GPU is paid for.
"""

from __future__ import annotations

from dataclasses import replace

from sa3_training.data.corpus_pool import Lengths
from sa3_training.loop import LoopRecipe
from sa3_training.recipes import NanoRecipe

FEW_STEPS = LoopRecipe(num_steps=4, log_every_steps=1)
FLOW_STEPS = LoopRecipe(num_steps=25, log_every_steps=1)
"""Enough for the flow error to fall."""


def rehearsal(recipe: NanoRecipe) -> NanoRecipe:
    """Return the recipe with everything made small; what it has none of, it still has none of."""
    size = replace(recipe.size, dit_width=64, dit_depth=1, decoder_depth=min(1, recipe.size.decoder_depth))
    return replace(
        recipe,
        size=size,
        fit_seeds=recipe.fit_seeds[:3],
        clip_seeds=recipe.clip_seeds[:6],
        solo_seeds=recipe.solo_seeds[:4],
        clip_frames=40,
        long_seeds=recipe.long_seeds[:2],
        long_frames=60,
        held_out_seeds=recipe.held_out_seeds[:8],
        decoder=replace(recipe.decoder, crop_frames=8, batch_size=1),
        decoder_clips=2,
        decoder_loop=FEW_STEPS,
        lengths=Lengths(12, 40, 120),
        dit_loop=FLOW_STEPS,
        guidance_loop=FEW_STEPS,
        warm_up=replace(recipe.warm_up, teacher_steps=2),
        warm_up_loop=FEW_STEPS,
        post_loop=FEW_STEPS,
        judge_teaching_seeds=recipe.judge_teaching_seeds[:24],
        judge_seeds=1,
    )
