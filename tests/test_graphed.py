"""Graphs of the DiT: equal to plain calls for every shape and conditioning, bounded in number and bytes.

A stand-in records and replays on the CPU; what a GPU does instead is in ``test_gpu.py``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from copy import deepcopy
from weakref import ReferenceType, ref

import pytest
import torch
from torch import Tensor

from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import Prepared
from sa3_daw.models.graphed import KEPT_SHAPES, GraphedDiT, Replay, tensors_of
from tests.test_precision import seeded_models


class StandIn:
    """Records on the CPU: a replay does again what was recorded, on the same tensors, and fills the same answer."""

    def __init__(self, fails_with: RuntimeError | None = None) -> None:
        self.num_recorded = self.num_replayed = self.num_forgotten = 0
        self.fails_with = fails_with
        self._pool: list[ReferenceType[Replay]] = []

    def record(self, call: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        if self.fails_with:
            raise self.fails_with
        assert not self._pool or any(replay() for replay in self._pool), "a GPU's pool ends with its last graph"
        self.num_recorded += 1
        answer = torch.full_like(call(), float("nan"))  # a recording computes nothing

        def replay() -> None:
            self.num_replayed += 1
            answer.copy_(call())

        self._pool.append(ref(replay))
        return answer, replay

    def forget(self) -> None:
        self.num_forgotten += 1
        self._pool.clear()


def prepared_inputs(graphed: GraphedDiT, seed: int, num_frames: int) -> tuple[Tensor, Prepared]:
    draw, device = torch.Generator().manual_seed(seed), graphed.dit.device
    context, global_ = torch.randn(1, 9, 48, generator=draw), torch.randn(1, 48, generator=draw)
    local, x = torch.randn(1, 33, num_frames, generator=draw), torch.randn(1, 32, num_frames, generator=draw)
    return x.to(device), graphed.dit.prepare(Conditioning(context, global_, local))


@torch.inference_mode()
def sampled(graphed: GraphedDiT, seed: int, num_frames: int) -> None:
    """Make three steps of a job and compare each with a plain one."""
    x, prepared = prepared_inputs(graphed, seed, num_frames)
    for level in (0.9, 0.5, 0.2):
        t = torch.tensor([level], device=graphed.dit.device)
        torch.testing.assert_close(graphed(x, t, prepared), graphed.dit(x, t, prepared))
        x = x + level


@torch.inference_mode()
def test_a_copy_of_the_conditioning_holds_every_tensor_in_memory_of_its_own() -> None:
    graphed = GraphedDiT(seeded_models()[0])
    _, prepared = prepared_inputs(graphed, 1, 12)
    mine, given = tensors_of(deepcopy(prepared)), tensors_of(prepared)
    assert len(given) == 3 + 3 * graphed.dit.spec.depth
    for own, other in zip(mine, given, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


def test_without_a_gpu_calls_are_plain() -> None:
    graphed = GraphedDiT(seeded_models()[0])
    sampled(graphed, 1, 12)
    assert graphed.num_recorded == 0


def test_a_shape_is_recorded_at_its_second_call_and_replayed_for_every_job_after_it() -> None:
    recorder = StandIn()
    graphed = GraphedDiT(seeded_models()[0], recorder)
    for seed in range(3):
        sampled(graphed, seed, 12)
    assert (recorder.num_recorded, recorder.num_replayed) == (1, 8)


def test_jobs_of_two_shapes_by_turns_get_their_own_conditioning() -> None:
    graphed = GraphedDiT(seeded_models()[0], StandIn())
    for seed, num_frames in enumerate((12, 20, 12, 20)):
        sampled(graphed, seed, num_frames)
    assert graphed.num_recorded == 2


@torch.inference_mode()
def test_one_conditioning_for_two_sizes_of_batch_reaches_both_graphs() -> None:
    graphed = GraphedDiT(seeded_models()[0], StandIn())
    sampled(graphed, 0, 12)
    x, prepared = prepared_inputs(graphed, 1, 12)
    t, both, levels = torch.tensor([0.5]), x.repeat(2, 1, 1), torch.tensor([0.5, 0.5])
    for _ in range(3):
        torch.testing.assert_close(graphed(both, levels, prepared), graphed.dit(both, levels, prepared))
        torch.testing.assert_close(graphed(x, t, prepared), graphed.dit(x, t, prepared))


def test_graphs_are_bounded_in_number_and_those_used_last_stay() -> None:
    recorder = StandIn()
    graphed = GraphedDiT(seeded_models()[0], recorder)
    for num_frames in range(6, 6 + 2 * KEPT_SHAPES + 2, 2):
        sampled(graphed, 0, num_frames)
    assert graphed.num_recorded == KEPT_SHAPES and recorder.num_recorded == KEPT_SHAPES + 1
    sampled(graphed, 0, 6 + 2 * KEPT_SHAPES)
    assert recorder.num_recorded == KEPT_SHAPES + 1


def test_graphs_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = GraphedDiT(seeded_models()[0], StandIn())
    _, prepared = prepared_inputs(graphed, 0, 12)
    one = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(prepared))
    monkeypatch.setattr("sa3_daw.models.graphed.KEPT_BYTES", int(1.5 * one))
    for num_frames in (10, 12, 40):  # one makes room for the next, the last is too large by itself
        sampled(graphed, 0, num_frames)
    assert graphed.num_recorded == 1


def test_a_job_leaves_nothing_behind_but_the_graphs_inputs() -> None:
    graphed = GraphedDiT(seeded_models()[0], StandIn())
    sampled(graphed, 0, 12)
    gc.collect()
    assert graphed._latest is not None and graphed._latest[1]() is None


def test_a_shape_without_memory_for_a_graph_runs_plainly_and_others_are_recorded_again() -> None:
    recorder = StandIn()
    graphed = GraphedDiT(seeded_models()[0], recorder)
    sampled(graphed, 0, 12)
    recorder.fails_with = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    sampled(graphed, 0, 40)
    assert graphed.num_recorded == 0 and recorder.num_forgotten > 0
    recorder.fails_with = None
    for num_frames in (40, 12):
        sampled(graphed, 0, num_frames)
    assert graphed.num_recorded == 1 and recorder.num_recorded == 2


def test_where_recording_fails_everything_runs_plainly(caplog: pytest.LogCaptureFixture) -> None:
    recorder = StandIn(RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    graphed = GraphedDiT(seeded_models()[0], recorder)
    for num_frames in (12, 20):
        sampled(graphed, 0, num_frames)
    assert graphed.num_recorded == 0 and len(caplog.records) == 1 and "not permitted" in caplog.text


def test_forgotten_graphs_are_recorded_anew() -> None:
    recorder = StandIn()
    graphed = GraphedDiT(seeded_models()[0], recorder)
    for _ in range(2):
        sampled(graphed, 0, 12)
        graphed.forget()
    assert (recorder.num_recorded, recorder.num_forgotten, graphed.num_recorded) == (2, 2, 0)


def test_shapes_that_run_plainly_may_push_out_every_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = StandIn()
    graphed = GraphedDiT(seeded_models()[0], recorder)
    sampled(graphed, 0, 6)
    with monkeypatch.context() as patched:
        patched.setattr("sa3_daw.models.graphed.KEPT_BYTES", 0)
        for num_frames in range(8, 8 + 2 * KEPT_SHAPES, 2):
            sampled(graphed, 0, num_frames)
    assert graphed.num_recorded == 0
    sampled(graphed, 0, 6)
    assert graphed.num_recorded == 1
