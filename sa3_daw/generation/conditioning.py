"""What steers the model in one window: prompt, duration, keep-mask, kept latents, beats. Knows no sampler.

Shapes: B batch, D channels, T latent frames, L text tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sa3_daw.generation.beat_grid import beats_at
from sa3_daw.generation.edit_plan import EditPlan, Window
from sa3_daw.generation.model import LoadedModel, TextEncoder
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.music.timeline import TempoMap
from sa3_daw.sampling.guidance import Guidance

REMEMBERED_TEXTS = 16
"""Prompts whose states each text encoder keeps, because most requests roll the words of the one before again."""

States = tuple[Tensor, Tensor]
_remembered: WeakKeyDictionary[TextEncoder, OrderedDict[tuple[str, int], States]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Text:
    """Prompt and duration as conditioning, once per job; with guidance two rows, the conditional one first."""

    context_BLD: Tensor
    global_BD: Tensor


@torch.inference_mode()
def read_text(plan: EditPlan, model: LoadedModel, guidance: Guidance) -> Text:
    """Encode prompt, negative prompt and the clip's duration, at most the longest the model was made for."""
    job, max_tokens = plan.job, model.spec.conditioning.max_tokens
    seconds = torch.tensor([min(plan.grid.num_samples, model.spec.max_num_samples) / model.spec.sample_rate])
    states, mask = text_states(model.text_encoder, job.prompt, max_tokens)
    context, global_ = model.conditioner(states, mask, seconds)
    if guidance.scale == 1.0:
        return Text(context, global_)
    if job.negative_prompt:
        states, mask = text_states(model.text_encoder, job.negative_prompt, max_tokens)
        against = model.conditioner.negative_context(states, mask, seconds)
    else:
        against = torch.zeros_like(context)
    return Text(torch.cat((context, against)), global_.expand(2, -1))


def text_states(encoder: TextEncoder, text: str, max_tokens: int) -> States:
    """Return a text's states and mask, encoded at its first use; they depend on the text alone."""
    known = _remembered.setdefault(encoder, OrderedDict())
    found = known.pop((text, max_tokens), None) or encoder.encode([text], max_tokens)
    known[text, max_tokens] = found
    if len(known) > REMEMBERED_TEXTS:
        known.popitem(last=False)
    return found


@torch.inference_mode()
def condition(
    plan: EditPlan, model: LoadedModel, text: Text, window: Window, keep_T: Tensor, known_BDT: Tensor
) -> Conditioning:
    """Return what steers the DiT in a window and B items; with guidance the batch is 2 B, all conditional ones first.

    ``keep_T`` is 1 where a frame of ``known_BDT`` is kept; the model sees nothing of the others.
    """
    spec, batch = model.spec, len(known_BDT)
    keep = keep_T.expand(batch, 1, -1)
    parts = [keep, known_BDT * keep]
    if spec.conditioning.beat_grid_dim:
        beats = torch.from_numpy(beats_at(TempoMap(plan.job.tempo_map), frame_times(plan, window)))
        parts.append(beats.expand(batch, -1, -1))
    local = torch.cat(parts, dim=1).repeat(len(text.context_BLD), 1, 1)
    context = text.context_BLD.repeat_interleave(batch, dim=0)
    return Conditioning(context, text.global_BD.repeat_interleave(batch, dim=0), local)


def frame_times(plan: EditPlan, window: Window) -> list[float]:
    """Return where the window's frames start on the timeline, in seconds; a loop's frames go round."""
    job, rate = plan.job, plan.spec.sample_rate
    samples = np.array([plan.grid.sample_of(frame) for frame in range(window.start, window.end)])
    seconds = samples / rate
    if job.loop:
        seconds = (seconds + plan.rotation / job.sample_rate) % (plan.num_samples / job.sample_rate)
    return [float(time) for time in job.start_sample / job.sample_rate + seconds]
