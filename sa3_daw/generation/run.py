"""ONE request in a straight line: plan, condition, sample, decode, deliver. Knows no socket and no queue."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sa3_daw.errors import invalid
from sa3_daw.generation.canvas import encode_pieces, stretches_to_hear
from sa3_daw.generation.conditioning import read_text
from sa3_daw.generation.denoise import Sampling
from sa3_daw.generation.edit_plan import EditPlan, plan_passes
from sa3_daw.generation.events import Event, Finished, Progress, TakeMade
from sa3_daw.generation.heard import Heard
from sa3_daw.generation.model import LoadedModel
from sa3_daw.generation.rolls import batches
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.generation.studio import Pass, Studio, Take
from sa3_daw.generation.timing import Timings
from sa3_daw.generation.work_source import WorkSource
from sa3_daw.job import Job


def run(job: Job, model: LoadedModel, store: SourceStore | None = None) -> Iterator[Event]:
    """Make the takes of one job. A job with a source needs the ``store`` that holds it.

    Yields Progress while it samples; per variation AudioChunks in time order whose lengths sum to exactly
    ``job.num_samples``, and one TakeMade; at the end Finished. Closing the iterator cancels: nothing runs beyond
    the current step or chunk. The result depends on the job and its source alone; noise comes from each take's
    seed on the CPU. Raises InvalidField, BadOutput, OutOfMemory (as MemoryError from torch's allocator).
    """
    timings = Timings()
    yield Progress("conditioning", 0, 1)
    with model.adapters.use(job.adapters) as adapted:
        with timings.stage("conditioning"):
            plan, joint_plan = plan_passes(job, model.spec)
            sampling = Sampling.of(job, model.spec)
            first = Pass(plan, find_source(plan, store), sampling)
            text = read_text(plan, model, sampling.guidance)
        yield Progress("conditioning", 1, 1)
        if len(plan.windows) > 1:
            yield Progress("windows", 0, len(plan.windows))

        groups = batches(job, plan.grid.num_frames, len(plan.windows))
        num_steps = total_steps(job, sampling, plan, joint_plan, len(groups))
        heard = store.heard if store is not None else Heard()
        studio = Studio(job, model, adapted, text, heard, timings, num_steps)
        reports: list[TakeMade] = []
        rolled: list[Take] = []
        for rolls in groups:
            for take in (yield from studio.make(first, rolls)):
                rolled.append(take if joint_plan is None else (yield from studio.close_joint(joint_plan, take)))
                if len(rolled) == job.best_of:
                    reports.append((yield from studio.deliver(studio.best(rolled))))
                    rolled.clear()
    yield Finished(job.num_samples, reports[0].peak_db, reports[0].rms_db, timings.seconds)


def hear_ahead(job: Job, model: LoadedModel, store: SourceStore) -> Iterator[None]:
    """Encode what a job would hear of its source and does not remember, one piece at each turn."""
    plan, _ = plan_passes(job, model.spec)
    source, same = find_source(plan, store), model.same
    assert source is not None
    for start, end in stretches_to_hear(plan, same).values():
        if store.heard.find(plan, same, start, end) is None:
            pieces = []
            for piece in encode_pieces(plan, same, source, start, end):
                pieces.append(piece)
                yield
            store.heard.keep(plan, same, start, end, torch.cat(pieces, dim=-1))


def total_steps(job: Job, sampling: Sampling, plan: EditPlan, joint_plan: EditPlan | None, num_groups: int) -> int:
    """Return how many sampler steps the whole job takes."""
    joints = job.num_variations * job.best_of * len(joint_plan.windows) if joint_plan else 0
    return sampling.num_steps * (num_groups * len(plan.windows) + joints)


def find_source(plan: EditPlan, store: SourceStore | None) -> WorkSource | None:
    """Return the job's source where the plan wants it."""
    source = plan.job.source
    if source is None:
        return None
    if store is None:
        raise invalid("source.audio", source.audio, "none, without a store")
    return WorkSource(store.read_audio(source.audio), source.start_sample, plan)
