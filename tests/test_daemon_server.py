"""The daemon over real sockets with the fake engine: lifecycles, fairness, credit, cancellation, bad frames."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import msgpack
import numpy as np
import pytest

from sa3_daw.client import AudioChunk, Cancelled, Client, Finished, JobCancelled, JobEvent, Take
from sa3_daw.errors import EngineError, LimitExceeded, OutOfMemory, ProtocolMismatch, RequestError, Sa3Error
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.messages import (
    Accepted,
    Audio,
    Cancel,
    CancelReply,
    Credit,
    Failed,
    Hello,
    HelloReply,
    Progress,
    Rejected,
    Status,
    StatusReply,
)
from tests import fake_engine
from tests.running_daemon import ROOT, RunningDaemon, a_job, wait_for

ANSWER_SECONDS = 0.1
"""What the issue promises for bad input, on a free machine; asserted at CI_FACTOR times that."""
CI_FACTOR = 10


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("daemon") / "run", SA3_MAX_QUEUED_JOBS="100") as running:
        running.engine_pid()
        yield running


def test_a_clip_arrives_complete_exact_and_equal_to_what_the_engine_made(daemon: RunningDaemon) -> None:
    job = a_job("chunk=1000", num_samples=100_003)
    with daemon.client() as client:
        events: list[JobEvent] = []
        result = client.generate(job, events.append)
    assert result.samples.shape == (2, 100_003)
    assert np.array_equal(result.samples, fake_engine.tone(job))
    order = [type(event) for event in events]
    assert order[0] is Accepted and order[-1] is Finished and order.count(Finished) == 1
    assert order == sorted(order, key=[Accepted, Progress, AudioChunk, Take, Finished].index)


def test_hello_tells_models_limits_and_verbs(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        reply = client.hello()
    assert [model.name for model in reply.models][:1] == ["nano"]
    assert reply.pid == daemon.process.pid and "generate" in reply.verbs
    assert 48000 in reply.limits.sample_rates


def test_a_failed_job_raises_its_own_error_and_the_daemon_lives(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        with pytest.raises(OutOfMemory, match="not enough memory"):
            client.generate(a_job("oom"))
        with pytest.raises(EngineError, match="RuntimeError: boom"):
            client.generate(a_job("boom"))
        with pytest.raises(Sa3Error, match="failed as asked") as caught:
            client.generate(a_job("fail=bad_output"))
        assert (caught.value.code, caught.value.allowed) == ("bad_output", "no wish to fail")
        assert client.generate(a_job()).finished.num_samples == 8192


def test_a_bad_job_fails_with_field_and_limit_before_it_is_queued(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        with pytest.raises(RequestError) as caught:
            client.generate(a_job(num_samples=-1))
        assert caught.value.field == "num_samples" and caught.value.allowed.startswith("1 to ")
        with pytest.raises(LimitExceeded, match="prompt"):
            client.generate(a_job("x" * 1_000_000))
        assert client.status().jobs == ()


def test_a_running_job_is_cancelled_at_once_though_its_engine_still_has_to_stop(daemon: RunningDaemon) -> None:
    step_seconds = 2.0
    with daemon.client() as client, client.submit(a_job("steps=200 step_ms=2000")) as stream:
        while not isinstance(event := next(stream), Progress) or event.stage != "conditioning":
            pass
        started = monotonic()
        stream.cancel()
        stream.cancel()
        assert [type(event) for event in stream] == [Cancelled]
        assert monotonic() - started < step_seconds / 2
        assert client.cancel(stream.job.job_id) is False
        assert client.status().jobs == () and client.status().engine.state == "busy"
        told = [event for event in client.submit(a_job()) if isinstance(event, Progress)]
        assert monotonic() - started > step_seconds / 2, "the engine was still at work on the other job"
        assert "loading" not in {progress.stage for progress in told}
        assert client.status().engine.num_deaths == 0


def test_a_queued_job_is_cancelled_at_once_and_never_starts(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        with client.submit(a_job("steps=200 step_ms=50")) as running, client.submit(a_job("exit_at=0")) as queued:
            assert isinstance(next(queued), Accepted)
            assert client.cancel(queued.job.job_id) is True
            assert [type(event) for event in queued] == [Cancelled]
            running.cancel()
            assert [type(event) for event in running][-1] is Cancelled
        assert client.status().engine.num_deaths == 0


def test_cancelling_an_unknown_job_is_harmless(daemon: RunningDaemon) -> None:
    with daemon.raw() as raw:
        for seq in (1, 2):
            raw.send(Cancel(), job="never-was", seq=seq)
            received = raw.next()
            assert received.message == CancelReply(live=False) and received.header.seq == seq


def test_two_clients_take_turns(daemon: RunningDaemon) -> None:
    with daemon.client() as greedy, daemon.client() as modest:
        streams = [greedy.submit(a_job("step_ms=30")) for _ in range(6)]
        accepted = [next(stream) for stream in streams]
        modest_stream = modest.submit(a_job())
        first = next(modest_stream)
        assert isinstance(first, Accepted) and first.position <= 2
        assert isinstance(list(modest_stream)[-1], Finished)
        states = [job.state for job in greedy.status().jobs]
        assert "queued" in states, "the modest client's only job waited for all of the greedy one's"
        assert len(accepted) == 6
        for stream in streams:
            assert isinstance(list(stream)[-1], Finished)


def test_a_client_that_gives_no_credit_blocks_nobody_and_gets_all_later(daemon: RunningDaemon) -> None:
    job = a_job("chunk=1024", num_samples=8 * 1024)
    with daemon.raw() as stalled, daemon.client() as other:
        stalled.send(job, job=job.job_id, credit=2)
        for _ in range(2):
            assert isinstance(stalled.until(Audio).message, Audio)
        assert other.generate(a_job()).finished.num_samples == 8192
        stalled.send(Status(), seq=5)
        received = stalled.next()
        assert isinstance(received.message, StatusReply), "control waited behind held audio, or audio came uncredited"
        assert [each.state for each in received.message.jobs] == ["delivering"]
        stalled.send(Credit(100), job=job.job_id)
        rest = [stalled.next().message for _ in range(8)]
        assert [type(message).__name__ for message in rest] == ["Audio"] * 6 + ["Take", "Finished"]


def test_held_audio_is_dropped_by_cancel(daemon: RunningDaemon) -> None:
    job = a_job()
    with daemon.raw() as raw:
        raw.send(job, job=job.job_id)
        with daemon.client() as other:
            wait_for("delivering", lambda: [each.state for each in other.status().jobs] == ["delivering"])
        raw.send(Cancel(), job=job.job_id)
        kinds = {type(raw.until(Cancelled, CancelReply).message) for _ in range(2)}
        assert kinds == {Cancelled, CancelReply}
        with daemon.client() as other:
            assert other.status().jobs == ()


def test_a_job_id_in_use_is_rejected_and_the_first_job_goes_on(daemon: RunningDaemon) -> None:
    job = a_job("step_ms=50")
    with daemon.raw() as raw:
        raw.send(job, job=job.job_id, seq=1, credit=9)
        raw.send(replace(job, seed=8), job=job.job_id, seq=2, credit=9)
        rejected = raw.until(Rejected)
        assert rejected.header.seq == 2 and isinstance(rejected.message, Rejected)
        assert rejected.message.field == "job_id"
        assert isinstance(raw.until(Finished).message, Finished)


def test_a_vanished_clients_jobs_are_cancelled(daemon: RunningDaemon) -> None:
    with daemon.client() as watcher:
        before = watcher.status().num_cancelled
        with daemon.raw() as raw:
            for job in (a_job("steps=200 step_ms=20"), a_job("steps=200"), a_job()):
                raw.send(job, job=job.job_id)
            raw.until(Progress)
        wait_for("jobs cancelled", lambda: watcher.status().jobs == ())
        assert watcher.status().num_cancelled == before + 3
        assert watcher.status().engine.num_deaths == 0


def test_a_client_that_vanishes_with_held_audio_leaves_nothing(daemon: RunningDaemon) -> None:
    with daemon.client() as watcher:
        with daemon.raw() as raw:
            job = a_job()
            raw.send(job, job=job.job_id)
            wait_for("delivering", lambda: [each.state for each in watcher.status().jobs] == ["delivering"])
        wait_for("held audio dropped", lambda: watcher.status().jobs == ())


def test_eta_is_known_after_the_first_finished_job(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        client.generate(a_job())
        first = next(client.submit(a_job()))
        assert isinstance(first, Accepted) and first.eta_seconds is not None and first.eta_seconds >= 0


def test_two_streams_of_one_client_are_read_in_any_order(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        one, two = client.submit(a_job()), client.submit(a_job())
        assert isinstance(list(two)[-1], Finished)
        assert isinstance(list(one)[-1], Finished)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b""], "invalid_request"),
        ([b"hello"], "invalid_request"),
        ([b"hello", b"", b""], "invalid_request"),
        ([b"hello", b"\xc1", b"\x80"], "invalid_request"),
        ([b"hello", msgpack.packb({"v": 99}), b"\x80"], "protocol_mismatch"),
        ([b"hello", msgpack.packb({"v": "1"}), b"\x80"], "invalid_field"),
        ([b"hello", msgpack.packb({}), b"\x80"], "invalid_field"),
        ([b"teleport", msgpack.packb({"v": 1, "seq": 3}), b"\x80"], "invalid_field"),
        ([b"\xff" * 100_000, msgpack.packb({"v": 1}), b"\x80"], "invalid_field"),
        ([b"hello", b"\xa1" * 100_000, b"\x80"], "limit_exceeded"),
        ([b"status", msgpack.packb({"v": 1}), bytes(2 << 20)], "limit_exceeded"),
        ([b"status", msgpack.packb({"v": 1}), b"\x81\xa1a" + b"\x91" * 500_000], "invalid_request"),
        ([b"cancel", msgpack.packb({"v": 1, "job": "../../x"}), b"\x80"], "invalid_field"),
        ([b"status"] + [b""] * 1000, "invalid_request"),
    ],
)  # fmt: skip
def test_nonsense_is_answered_by_a_typed_rejection(daemon: RunningDaemon, frames: list[bytes], code: str) -> None:
    with daemon.raw() as raw:
        received, seconds = raw.ask_after_nonsense(frames)
        assert isinstance(received.message, Rejected)
        assert received.message.code == code and len(received.message.message) < 1000
        assert seconds < CI_FACTOR * ANSWER_SECONDS
        raw.send(Hello())
        assert isinstance(raw.next().message, HelloReply)


def test_a_generate_that_cannot_be_read_fails_its_job(daemon: RunningDaemon) -> None:
    with daemon.raw() as raw:
        received, _ = raw.ask_after_nonsense([b"generate", msgpack.packb({"v": 1, "job": "j"}), b"\xc1"])
        assert isinstance(received.message, Failed) and received.header.job == "j"
        received, _ = raw.ask_after_nonsense([b"generate", msgpack.packb({"v": 2, "job": "j"}), b"\x80"])
        assert isinstance(received.message, Failed) and received.message.code == ProtocolMismatch.code


def test_a_frame_above_the_transports_limit_ends_that_connection_alone(daemon: RunningDaemon) -> None:
    with daemon.raw() as raw, daemon.client() as other:
        raw.socket.send_multipart([b"status", bytes(9 << 20), b"\x80"])
        assert other.hello().pid == daemon.process.pid


def mutated(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """Return frames cut, flipped, stuffed, dropped, doubled, or all random."""
    if rng.random() < 0.2:
        return [rng.randbytes(rng.choice([0, 1, 7, 60, 3000])) for _ in range(rng.randint(1, 5))]
    frames = list(frames)
    for _ in range(rng.randint(1, 3)):
        index = rng.randrange(len(frames))
        frame = bytearray(frames[index])
        change = rng.randrange(5)
        if change == 0:
            frame = frame[: rng.randint(0, len(frame))]
        elif change == 1 and frame:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        elif change == 2:
            frame[rng.randint(0, len(frame)) : 0] = rng.randbytes(rng.randint(1, 9))
        elif change == 3 and len(frames) > 1:
            del frames[index]
            continue
        else:
            frames.insert(index, bytes(frame))
        frames[index] = bytes(frame)
    return frames


def test_thousands_of_broken_messages_leave_daemon_and_queue_intact(daemon: RunningDaemon) -> None:
    rng = random.Random(20261121)
    job = a_job("steps=1", num_samples=16, job_id="fuzz")
    seeds = [
        encode(Hello("x"), seq=1),
        encode(job, job="fuzz", credit=4),
        encode(Cancel(), job="fuzz"),
        encode(Credit(3), job="fuzz"),
        encode(Status(), seq=2),
    ]
    kept = a_job("steps=2000 step_ms=5")
    with daemon.client() as client, client.submit(kept) as stream, client.submit(a_job()) as queued:
        next(stream), next(queued)
        with daemon.raw() as raw:
            for batch in range(40):
                for _ in range(100):
                    frames = mutated(rng, rng.choice(seeds))
                    if frames[0] != b"shutdown":
                        raw.socket.send_multipart(frames)
                raw.send(Status(), seq=1000 + batch)
                while raw.next().header.seq != 1000 + batch:
                    pass
        assert daemon.process.poll() is None
        mine = [each.state for each in client.status().jobs if each.job_id in (kept.job_id, queued.job.job_id)]
        assert mine == ["running", "queued"]
        stream.cancel()
        assert isinstance(list(stream)[-1], Cancelled)
        assert isinstance(list(queued)[-1], Finished)


def test_a_full_queue_is_told_and_nothing_else_is_lost(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        limit = client.hello().limits.max_queued_jobs
        running = client.submit(a_job("steps=2000 step_ms=20"))
        next(running)
        streams = [client.submit(a_job()) for _ in range(limit)]
        for stream in streams[:-1]:
            next(stream)
        with pytest.raises(LimitExceeded, match="queue is full"):
            extra = client.submit(a_job())
            [next(extra) for _ in range(2)]
        for stream in [*streams, running]:
            stream.cancel()
        assert all(isinstance(list(stream)[-1], Cancelled) for stream in [*streams, running])


def test_an_exception_while_reading_cancels_the_job(daemon: RunningDaemon) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with daemon.client() as client:
        with pytest.raises(KeyboardInterrupt):
            client.generate(a_job("steps=500 step_ms=20"), stop)
        wait_for("cancelled", lambda: client.status().jobs == ())


def test_generate_that_is_cancelled_from_its_callback_says_so(daemon: RunningDaemon) -> None:
    job = a_job("steps=500 step_ms=10")
    with daemon.client() as client, pytest.raises(JobCancelled):

        def cancel(_: JobEvent) -> None:
            client.cancel(job.job_id)

        client.generate(job, cancel)


def test_the_front_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, sa3_daw.daemon.server; sys.exit(bool({'torch', 'numpy', 'asyncio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_same_job_gives_the_same_samples_over_tcp(daemon: RunningDaemon) -> None:
    job = a_job()
    with daemon.client() as client:
        over_ipc = client.generate(job).samples
    with Client(replace(daemon.connection, ipc="")) as client:
        assert np.array_equal(client.generate(job).samples, over_ipc)
