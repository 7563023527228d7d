"""Jobs among each other: joined, replayed, durable, giving way, cancelled by others; models that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sa3_daw.client import Accepted, AudioChunk, Cancelled, Client, Finished, Progress
from sa3_daw.errors import InvalidField, UnknownModel
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted as WireAccepted
from sa3_daw.protocol.messages import Audio, Credit, ResidentModel, Take
from sa3_daw.protocol.messages import Finished as WireFinished
from tests import fake_engine
from tests.running_daemon import RunningDaemon, a_job, wait_for


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("jobs") / "run", SA3_ENGINE_CANCEL_SECONDS="1") as running:
        running.engine_pid()
        yield running


def states(client: Client) -> dict[str, str]:
    return {job.job_id: job.state for job in client.status().jobs}


def accepted_of(client: Client, job: Job) -> Accepted:
    with client.submit(job) as stream:
        first = next(stream)
        list(stream)
    assert isinstance(first, Accepted)
    return first


def test_the_same_job_again_is_replayed_and_not_computed(daemon: RunningDaemon) -> None:
    job = replace(a_job("chunk=1000"), num_variations=2)
    with daemon.client() as client:
        first = client.generate(job)
        finished = client.status().num_finished
        with daemon.client() as other:
            assert accepted_of(other, replace(job, priority="audible")).replayed
            again = other.generate(job)
        assert [each.take.take_id for each in again.takes] == [each.take.take_id for each in first.takes]
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(again.takes, first.takes, strict=True))
        assert client.status().num_finished == finished
        with pytest.raises(InvalidField, match="job_id"):
            client.generate(replace(job, seed=1))


def test_a_deleted_take_is_made_again(daemon: RunningDaemon) -> None:
    job = a_job()
    with daemon.client() as client:
        client.delete_take(client.generate(job).takes[0].take.take_id)
        assert not accepted_of(client, job).replayed


def test_a_live_job_is_joined_from_its_beginning(daemon: RunningDaemon) -> None:
    job = a_job("chunk=1000 stop_after=4000", num_samples=8000)
    with daemon.raw() as first, daemon.raw() as second, daemon.client() as watcher:
        first.send(job, job=job.job_id, credit=64)
        for _ in range(4):
            first.until(Audio)
        second.send(job, job=job.job_id, credit=64)
        assert isinstance(second.next().message, WireAccepted)
        starts = [second.until(Audio).message.start_sample for _ in range(4)]  # type: ignore[union-attr]
        assert starts == [0, 1000, 2000, 3000]
        watcher.cancel(job.job_id)


def test_each_follower_has_its_own_credit(daemon: RunningDaemon) -> None:
    job = a_job("chunk=1000", num_samples=4000)
    with daemon.raw() as slow, daemon.raw() as fast, daemon.client() as blocker:
        with blocker.submit(a_job("steps=3 step_ms=50")) as running:
            next(running)
            slow.send(job, job=job.job_id, credit=1)
            fast.send(job, job=job.job_id, credit=64)
            list(running)
        fast.until(WireFinished)
        slow.until(Audio)
        slow.send(Credit(64), job=job.job_id)
        rest = [type(slow.next().message) for _ in range(5)]
        assert rest == [Audio, Audio, Audio, Take, WireFinished]


def test_after_a_cancel_the_id_is_free_and_nothing_late_of_the_first_job_gets_into_the_second(
    daemon: RunningDaemon,
) -> None:
    job = a_job("chunk=1000 chunk_ms=200", num_samples=20_000)
    with daemon.client() as client:
        with client.submit(job) as stream:
            while not isinstance(next(stream), AudioChunk):
                pass
            stream.cancel()
            assert isinstance(list(stream)[-1], Cancelled)
        other = replace(job, prompt="chunk=3000", seed=8)
        assert np.array_equal(client.generate(other).samples, fake_engine.tone(other))


def test_a_durable_job_outlives_its_client(daemon: RunningDaemon) -> None:
    job = replace(a_job("steps=10 step_ms=20"), durable=True)
    with daemon.client() as watcher:
        with daemon.raw() as raw:
            raw.send(job, job=job.job_id)
            raw.until(WireAccepted)
        wait_for("the job ends", lambda: job.job_id not in states(watcher))
        assert accepted_of(watcher, job).replayed
        assert np.array_equal(watcher.generate(job).samples, fake_engine.tone(job))


def test_another_client_may_cancel_a_durable_job(daemon: RunningDaemon) -> None:
    job = replace(a_job("steps=2000 step_ms=20"), durable=True)
    with daemon.client() as watcher:
        with daemon.raw() as raw:
            raw.send(job, job=job.job_id)
            raw.until(WireAccepted)
        assert watcher.cancel(job.job_id) is True
        wait_for("the job ends", lambda: job.job_id not in states(watcher))
        assert watcher.status().ended[0].outcome == "cancelled"


def test_speculative_work_gives_way_and_finishes_later_without_a_sample_twice(daemon: RunningDaemon) -> None:
    job = replace(a_job("chunk=1000 chunk_ms=20", num_samples=20_000), priority="speculative")
    urgent = replace(a_job(), priority="audible")
    with daemon.client() as idle, daemon.client() as eager:
        stream = idle.submit(job)
        chunks = []
        for event in stream:
            if isinstance(event, AudioChunk):
                chunks.append(event)
                if len(chunks) == 3:
                    assert np.array_equal(eager.generate(urgent).samples, fake_engine.tone(urgent))
                    assert states(eager).get(job.job_id) in ("running", "queued")
        assert isinstance(event, Finished)
        starts = [chunk.start_sample for chunk in chunks]
        assert starts == sorted(set(starts))
        assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks], axis=1), fake_engine.tone(job))


def test_audible_work_goes_before_what_waits(daemon: RunningDaemon) -> None:
    with daemon.client() as client, client.submit(a_job("steps=500 step_ms=20")) as running:
        wait_for("sampling", lambda: isinstance(event := next(running), Progress) and event.stage == "sampling")
        waiting = client.submit(a_job())
        next(waiting)
        urgent = next(client.submit(replace(a_job(), priority="audible")))
        assert isinstance(urgent, Accepted) and urgent.position == 1
        running.cancel()
        list(running)
        list(waiting)


def test_a_queued_jobs_status_tells_position_priority_and_eta(daemon: RunningDaemon) -> None:
    with daemon.client() as client, client.submit(a_job("steps=500 step_ms=20")) as running:
        wait_for("sampling", lambda: isinstance(event := next(running), Progress) and event.stage == "sampling")
        queued = client.submit(replace(a_job(), priority="speculative", durable=True))
        next(queued)
        line = client.status().jobs[-1]
        assert (line.job_id, line.state, line.position) == (queued.job.job_id, "queued", 1)
        assert line.priority == "speculative" and line.durable and line.eta_seconds is not None
        running.cancel()
        list(running)
        list(queued)


def test_status_remembers_how_jobs_ended_and_how_long_their_stages_took(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        job = a_job()
        client.generate(job)
        with client.submit(a_job("steps=500 step_ms=10")) as stream:
            next(stream)
            assert client.cancel(stream.job.job_id)
            assert isinstance(list(stream)[-1], Cancelled)
        status = client.status()
        assert [end.outcome for end in status.ended[:2]] == ["cancelled", "finished"]
        assert status.ended[1].job_id == job.job_id and set(status.ended[1].timings_seconds) == {"sampling", "decoding"}
        sampling = next(stage for stage in status.stages if stage.stage == "sampling")
        assert sum(sampling.counts) == status.num_finished
        assert status.num_bytes > 0 and status.engine.num_bytes > 0 and status.store.num_takes > 0


def test_models_are_loaded_and_unloaded_on_request(daemon: RunningDaemon) -> None:
    nano = ResidentModel("nano", "cpu", "fp32", 1000)
    with daemon.client() as client:
        assert client.load_model("nano", 10.0) == (nano,)
        assert client.status().engine.models == (nano,)
        assert client.hello().models[0].precision == "fp32"
        assert client.unload_model("nano") == () and client.unload_model("nano") == ()
        assert client.status().engine.models == ()
        with pytest.raises(UnknownModel):
            client.load_model("none")


def test_loading_waits_for_the_running_job_and_goes_before_the_next(daemon: RunningDaemon) -> None:
    with daemon.client() as one, daemon.client() as other:
        running, queued = one.submit(a_job("steps=4 step_ms=50")), one.submit(a_job("steps=500 step_ms=20"))
        wait_for("sampling", lambda: isinstance(event := next(running), Progress) and event.stage == "sampling")
        assert [model.name for model in other.load_model("nano")] == ["nano"]
        assert [type(event) for event in running][-1] is Finished
        queued.cancel()
        list(queued)


def test_an_idle_engine_is_ended_and_started_again_by_a_job_but_not_by_pings(daemon: RunningDaemon) -> None:
    more = {"SA3_IDLE_UNLOAD_SECONDS": "1", "SA3_PRELOAD": ""}
    with RunningDaemon(daemon.runtime_dir.with_name("idle"), **more) as own, own.client() as client:
        client.generate(a_job())
        wait_for("the engine ends although it is asked for", lambda: client.status().engine.state == "stopped")
        status = client.status()
        assert (status.engine.pid, status.engine.num_deaths, status.engine.models) == (0, 0, ())
        events = list(client.submit(a_job()))
        assert any(isinstance(event, Progress) and event.stage == "loading" for event in events)
        assert isinstance(events[-1], Finished)
        client.load_model("nano", keep_alive_seconds=3600)
        assert client.status().engine.state == "idle"
