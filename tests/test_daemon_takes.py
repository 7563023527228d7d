"""Takes and stored audio over real sockets: kept with their recipe, found again, deleted, and safe from a bad disk."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sa3_daw import edits
from sa3_daw.blobs import audio_path, latents_path
from sa3_daw.client import Client, Take, audio_address
from sa3_daw.errors import InvalidField, LimitExceeded, RequestError, Sa3Error
from sa3_daw.job import Region
from sa3_daw.protocol.messages import GetAudio, PutAudio, PutAudioReply
from tests import fake_engine
from tests.running_daemon import RunningDaemon, a_job, data_dir, wait_for


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("takes") / "run") as running:
        running.engine_pid()
        yield running


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[Client]:
    with daemon.client() as connected:
        yield connected


def noise(num_samples: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (2, num_samples)).astype(np.float32)


def data_of(daemon: RunningDaemon) -> Path:
    return data_dir(daemon.runtime_dir)


# Audio


@pytest.mark.parametrize("num_samples", [1, 131072, 131073, 400_000])
def test_stored_audio_comes_back_bit_for_bit(client: Client, num_samples: int) -> None:
    samples = noise(num_samples, num_samples)
    address = client.put_audio(samples)
    assert address == hashlib.sha256(samples.tobytes()).hexdigest()
    assert np.array_equal(client.get_audio(address), samples)
    assert client.put_audio(samples) == address


def test_audio_that_is_not_stored_is_told(client: Client) -> None:
    with pytest.raises(InvalidField, match="stored audio"):
        client.get_audio("0" * 64)


@pytest.mark.parametrize("address", ["../../etc/passwd", "A" * 64, "", "0" * 63, "0" * 63 + "/"])
def test_no_path_reaches_the_disk(client: Client, address: str) -> None:
    with pytest.raises(InvalidField, match="hex digits"):
        client.get_audio(address)


def put(client: Client, request: PutAudio, buffer: bytes) -> PutAudioReply:
    link = client._link
    return link.reply(link.request(request, buffer=buffer), PutAudioReply)[0]


@pytest.mark.parametrize(
    ("field", "request_", "num_bytes"),
    [
        ("num_samples", PutAudio("1" * 64, 0, 0, 1), 8),
        ("num_samples", PutAudio("1" * 64, 2**62, 0, 1), 8),
        ("chunk_num_samples", PutAudio("1" * 64, 9, 0, 0), 0),
        ("chunk_num_samples", PutAudio("1" * 64, 9, 0, 2), 8),
        ("chunk_num_samples", PutAudio("1" * 64, 1, 0, 2), 16),
        ("chunk_num_samples", PutAudio("1" * 64, 2**20, 0, 2**18), 2**21),
        ("start_sample", PutAudio("1" * 64, 9, 1, 1), 8),
        ("start_sample", PutAudio("1" * 64, 9, -1, 1), 8),
        ("audio", PutAudio("1" * 64, 1, 0, 1), 8),
    ],
)
def test_a_bad_piece_is_refused_and_ends_its_upload(
    client: Client, field: str, request_: PutAudio, num_bytes: int
) -> None:
    with pytest.raises(InvalidField) as caught:
        put(client, request_, bytes(num_bytes))
    assert caught.value.field == field
    samples = noise(10)
    assert np.array_equal(client.get_audio(client.put_audio(samples)), samples)


def test_an_upload_larger_than_the_disk_is_refused_before_it_starts(client: Client) -> None:
    free = shutil.disk_usage("/").free
    if free // 8 < 3600 * 192000:
        with pytest.raises(LimitExceeded, match="does not fit"):
            put(client, PutAudio("2" * 64, 3600 * 192000, 0, 1), bytes(8))


def test_a_part_beyond_the_end_is_refused_and_one_across_it_is_cut(client: Client) -> None:
    address = client.put_audio(noise(100))
    with pytest.raises(InvalidField, match="start_sample"):
        client._link.ask(GetAudio(address, 100, 1), PutAudioReply)


# Takes


def test_every_variation_is_stored_with_its_recipe_and_is_a_source_at_once(client: Client) -> None:
    job = replace(a_job(), num_variations=3)
    result = client.generate(job)
    assert [each.take.made.variation for each in result.takes] == [0, 1, 2]
    for each in result.takes:
        assert np.array_equal(client.get_audio(each.take.audio), each.samples)
        take, recipe = client.get_take(each.take.take_id)
        assert (take.audio, take.job_id, take.made) == (each.take.audio, job.job_id, each.take.made)
        assert replace(recipe, steps=0, guidance_scale=0.0, apg_scale=None, sampler="", headroom_seconds=None) == job
        again = client.generate(replace(recipe, job_id=job.job_id + "x"))
        assert audio_address(again.takes[take.made.variation].samples) == take.audio
    child = client.generate(edits.continue_after(a_job(), result.takes[1].take.audio, job.num_samples, 1000))
    info, _ = client.get_take(child.takes[0].take.take_id)
    assert info.source == result.takes[1].take.audio and result.takes[1].take.take_id in info.parents


def test_an_edit_of_uploaded_audio_names_it_as_source(client: Client) -> None:
    address = client.put_audio(noise(5000))
    job = edits.inpaint(a_job(), address, 5000, [Region(100, 200)])
    take, _ = client.get_take(client.generate(job).takes[0].take.take_id)
    assert take.source == address and take.parents == () and take.made.changed == (Region(100, 200),)
    with pytest.raises(InvalidField, match="put_audio"):
        client.generate(edits.inpaint(a_job(), "0" * 64, 5000, [Region(100, 200)]))


def test_takes_are_listed_newest_first_and_found_by_text_tag_and_star(client: Client) -> None:
    ids = [client.generate(a_job(f"Größe {word} steps=1")).takes[0].take.take_id for word in ("eins", "zwei", "drei")]
    assert [take.take_id for take in client.list_takes(text="GRÖSSE")] == ids[::-1]
    assert [take.take_id for take in client.list_takes(text="größe", limit=1, before=ids[2])] == [ids[1]]
    changed = client.change_take(ids[0], starred=True, add_tags=["keep", "drums", "keep"])
    assert changed.starred and changed.tags == ("keep", "drums")
    assert client.change_take(ids[0], remove_tags=["drums"]).tags == ("keep",)
    assert [take.take_id for take in client.list_takes(starred=True, tag="keep")] == [ids[0]]
    assert client.list_takes(tag="drums") == ()
    assert client.delete_take(ids[0]) is True and client.delete_take(ids[0]) is False
    assert client.list_takes(tag="keep") == ()


@pytest.mark.parametrize("take_id", ["", "nothing", "../../x", "00000000-00000000"])
def test_an_unknown_take_is_told(client: Client, take_id: str) -> None:
    with pytest.raises(InvalidField, match="take_id"):
        client.get_take(take_id)
    assert client.delete_take(take_id) is False


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("limit", lambda client: client.list_takes(limit=0)),
        ("limit", lambda client: client.list_takes(limit=501)),
        ("before", lambda client: client.list_takes(before="x' OR 1")),
        ("text", lambda client: client.list_takes(text="x" * 5000)),
        ("budget_mb", lambda client: client.collect_garbage(-1)),
        ("model", lambda client: client.load_model("../nano")),
        ("keep_alive_seconds", lambda client: client.load_model("nano", float("nan"))),
    ],
)
def test_a_bad_wish_is_named(client: Client, field: str, call: object) -> None:
    with pytest.raises(RequestError) as caught:
        call(client)  # type: ignore[operator]
    assert caught.value.field == field


def test_tags_have_limits(client: Client) -> None:
    take_id = client.generate(a_job()).takes[0].take.take_id
    for tags in ([""], ["x" * 65], ["a\nb"], [str(number) for number in range(33)]):
        with pytest.raises(RequestError):
            client.change_take(take_id, add_tags=tags)
    assert client.get_take(take_id)[0].tags == ()


def test_what_an_interrupted_job_had_made_is_stored(daemon: RunningDaemon, client: Client) -> None:
    job = a_job("chunk=1000 stop_after=3000", num_samples=10_000)
    with client.submit(job) as stream:
        wait_for("audio", lambda: type(next(stream)).__name__ == "AudioChunk")
        os.kill(daemon.engine_pid(), 9)
        with pytest.raises(Sa3Error):
            list(stream)
    wait_for("the take", lambda: client.list_takes()[0].job_id == job.job_id)
    take = client.list_takes()[0]
    assert take.interrupted and take.job_id == job.job_id and take.made.num_samples == 3000
    assert np.array_equal(client.get_audio(take.audio), fake_engine.tone(job)[:, :3000])


# Budget


def test_garbage_keeps_starred_takes_and_what_they_were_made_from(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        ids = [client.generate(replace(a_job(), seed=seed)).takes[0].take for seed in range(4)]
        child = client.generate(edits.restyle(a_job(), ids[1].audio, 8192, 0.5)).takes[0].take
        client.change_take(child.take_id, starred=True)
        num_takes, num_bytes = client.collect_garbage(0)
        assert (num_takes, num_bytes) == (4, 3 * 8192 * 8)
        assert [take.take_id for take in client.list_takes()] == [child.take_id]
        assert client.get_audio(ids[1].audio).shape == (2, 8192), "the source of a starred take is gone"
        assert not audio_path(data_of(daemon), ids[0].audio).exists()
        assert client.status().store.num_bytes == 2 * 8192 * 8


def test_latents_count_in_the_budget_go_first_and_go_with_their_audio(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        kept, deleted = (client.generate(replace(a_job(), seed=seed)).takes[0].take for seed in range(2))
        data_dir = data_of(daemon)
    latents = {audio: latents_path(data_dir, audio, "a") for audio in (kept.audio, deleted.audio, "0" * 64)}
    for age, path in enumerate(latents.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1 << 20))
        os.utime(path, (1000 - age, 1000 - age))
    latents[kept.audio].with_suffix(".part").write_bytes(b"half")
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        assert not latents[kept.audio].with_suffix(".part").exists()
        assert client.status().store.num_bytes == 2 * 8192 * 8 + (3 << 20)
        assert client.delete_take(deleted.take_id)
        assert [path.exists() for path in latents.values()] == [True, False, True]
        assert client.collect_garbage(2) == (0, 1 << 20), "those without audio go in any case"
        assert client.collect_garbage(1) == (0, 1 << 20)
        assert not any(path.exists() for path in latents.values())
        assert client.status().store.num_bytes == 8192 * 8 and len(client.list_takes()) == 1


def test_no_take_makes_room_while_there_are_latents(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        audio = client.generate(a_job()).takes[0].take.audio
        for number in range(150):  # More than are deleted at once.
            path = latents_path(data_of(daemon), audio, f"{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(20_000))
    with RunningDaemon(tmp_path / "run", SA3_TAKES_BUDGET_MB="1") as daemon, daemon.client() as client:
        client.generate(replace(a_job(), seed=8))
        wait_for("latents deleted", lambda: client.status().store.num_bytes < 2 << 20)
        assert [take.made.seed for take in client.list_takes()] == [8, 7]
        client.generate(replace(a_job(), seed=9))
        wait_for("more latents deleted", lambda: client.status().store.num_bytes < 1 << 20)
        assert [take.made.seed for take in client.list_takes()] == [9, 8, 7]


def test_the_oldest_takes_make_room_for_new_ones(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run", SA3_TAKES_BUDGET_MB="1") as daemon, daemon.client() as client:
        for seed in range(20):
            client.generate(replace(a_job(num_samples=16384), seed=seed))
        store = client.status().store
        assert store.num_bytes <= store.budget_bytes == 1 << 20 and 5 <= store.num_takes <= 8
        assert [take.made.seed for take in client.list_takes()] == list(range(19, 19 - store.num_takes, -1))


def test_sources_keep_to_the_budget_too(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run", SA3_TAKES_BUDGET_MB="1") as daemon, daemon.client() as client:
        for seed in range(6):
            client.generate(replace(a_job(num_samples=16384), seed=seed))
        client.put_audio(noise(80_000))
        assert client.status().store.num_takes < 6
        with pytest.raises(LimitExceeded, match="takes_budget_mb"):
            client.put_audio(noise(80_001))
        with pytest.raises(LimitExceeded, match="takes_budget_mb"):
            client.put_audio(noise(140_000))
        assert client._link._replies == {}, "the answers to the pieces behind the refused one are awaited for ever"


# Restarts and bad disks


def test_a_new_daemon_knows_every_take(tmp_path: Path) -> None:
    daemon = RunningDaemon(tmp_path / "run")
    with daemon.client() as client:
        first = client.generate(a_job()).takes[0]
        client.change_take(first.take.take_id, starred=True, add_tags=["one"])
    daemon.process.kill()
    daemon.process.wait()
    with RunningDaemon(tmp_path / "run") as successor, successor.client() as client:
        (take,) = client.list_takes()
        assert (take.take_id, take.starred, take.tags) == (first.take.take_id, True, ("one",))
        assert np.array_equal(client.get_audio(take.audio), first.samples)
        assert client.generate(a_job()).takes[0].take.take_id > take.take_id


@pytest.mark.parametrize("damage", ["garbage", "cut", "pages", "deleted", "row", "record"])
def test_no_take_is_lost_with_its_index(tmp_path: Path, damage: str) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        taken = [client.generate(a_job()).takes[0].take.take_id for _ in range(3)]
        client.change_take(taken[1], starred=True)
        index = data_of(daemon) / "takes.sqlite"
    break_index(index, damage, taken[0])
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        takes = client.list_takes()
        assert [take.take_id for take in takes] == taken[::-1] and takes[1].starred
        assert client.generate(a_job()).takes[0].take.take_id > taken[-1]
        assert client.status().store.problem == ""


def break_index(index: Path, damage: str, take_id: str) -> None:
    if damage == "garbage":
        index.write_bytes(b"no database at all" * 1000)
    elif damage == "cut":
        index.write_bytes(index.read_bytes()[:5000])
    elif damage == "pages":
        index.write_bytes(index.read_bytes()[:4096] + b"\xff" * 4096 * 8)
    elif damage == "deleted":
        index.unlink()
    else:
        with sqlite3.connect(index) as db:
            change = "DELETE FROM takes" if damage == "row" else "UPDATE takes SET record = '{}'"
            db.execute(f"{change} WHERE take_id = ?", (take_id,))
        db.close()


def test_a_damaged_sidecar_costs_that_take_alone(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        taken = [client.generate(a_job()).takes[0].take.take_id for _ in range(2)]
    (data_of(daemon) / "takes.sqlite").unlink()
    (data_of(daemon) / "takes" / f"{taken[0]}.json").write_text("{")
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        assert [take.take_id for take in client.list_takes()] == taken[1:]


def test_an_index_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        taken = client.generate(a_job()).takes[0].take.take_id
    (data_of(daemon) / "takes.sqlite").unlink()
    (data_of(daemon) / "takes.sqlite").mkdir()
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        assert [take.take_id for take in client.list_takes()] == [taken]
        assert client.generate(a_job()).takes[0].take.take_id > taken


def test_a_folder_that_takes_nothing_costs_the_take_and_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "run.data").write_text("a file where the folder should be")
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        job = a_job("chunk=1000")
        result = client.generate(job)
        assert np.array_equal(result.samples, fake_engine.tone(job))
        assert result.takes[0].take.take_id == "" and "could not be stored" in result.takes[0].take.problem
        assert client.list_takes() == () and client.status().store.problem
        with pytest.raises(RequestError, match="nothing can be stored"):
            client.put_audio(noise(10))


def test_a_disk_that_takes_no_more_costs_the_take_and_not_the_job(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "run") as daemon, daemon.client() as client:
        small = client.generate(a_job()).takes[0].take.take_id
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        job = a_job("chunk=1000", num_samples=300_000)
        result = client.generate(job)
        assert np.array_equal(result.samples, fake_engine.tone(job))
        assert "too large" in result.takes[0].take.problem
        assert [take.take_id for take in client.list_takes()] == [small]
        assert not list((data_of(daemon) / "incoming").iterdir()), "what could not be stored was left behind"
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.generate(replace(job, job_id="again")).takes[0].take.take_id
        assert client.status().store.problem == ""


def test_order_survives_a_clock_that_jumps_back(daemon: RunningDaemon, client: Client) -> None:
    first = client.generate(a_job()).takes[0].take
    sidecar = data_of(daemon) / "takes" / f"{first.take_id}.json"
    record = json.loads(sidecar.read_text())
    record["take"]["created_seconds"] += 1e9
    sidecar.write_text(json.dumps(record))
    second = client.generate(replace(a_job(), seed=99)).takes[0].take
    assert [take.take_id for take in client.list_takes(limit=2)] == [second.take_id, first.take_id]


def test_a_take_event_follows_the_audio_of_its_variation(client: Client) -> None:
    order: list[str] = []
    client.generate(
        replace(a_job(), num_variations=2, draft=True),
        lambda event: order.append(f"take{event.made.variation}" if isinstance(event, Take) else type(event).__name__),
    )
    assert [name for name in order if name.startswith("take")] == ["take0", "take1"]
    assert order.index("take0") < order.index("take1") == len(order) - 2
