"""Every editing verb on the real embedded model: what is kept is bit-identical, what is made fits its place."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sa3_daw.embedded
from sa3_daw import edits
from sa3_daw.errors import InvalidField
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job, Region, Source, TempoPoint
from tests.stored_sources import Audio, drain, kept, put
from tests.tiny_published import write_tiny_model

NANO = Path(sa3_daw.embedded.__file__).parent / "nano"
RATE = 48000
LENGTH = 3 * RATE + 7


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(NANO, "nano")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SourceStore:
    return SourceStore(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def source(model: LoadedModel) -> Audio:
    return drain(run(job(seed=9, steps=6, num_samples=LENGTH), model)).audio[0]


@pytest.fixture(scope="module")
def address(store: SourceStore, source: Audio) -> str:
    return put(store.data_dir, source)


def job(**changes: object) -> Job:
    base = Job(
        job_id="test", prompt="house drums and bass", num_samples=RATE, sample_rate=RATE, seed=1,
        tempo_map=(TempoPoint(0.0, 120.0),), steps=2, guidance_scale=1.0,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def sha256(samples_CS: Audio) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples_CS).tobytes()).hexdigest()


@pytest.mark.parametrize(
    "regions",
    [
        (Region(50_001, 90_000),),
        (Region(0, 20_000), Region(70_000, 90_003), Region(140_000, LENGTH)),
        (Region(60_000, 60_300),),
        (Region(60_000, 60_001),),
        (Region(30_000, 60_000), Region(60_000, 80_000)),
    ],
    ids=["one", "three-with-both-ends", "shorter-than-a-frame", "one-sample", "touching"],
)
def test_every_sample_outside_the_regions_is_the_sources_own(
    model: LoadedModel, store: SourceStore, source: Audio, address: str, regions: tuple[Region, ...]
) -> None:
    done = drain(run(edits.inpaint(job(), address, LENGTH, regions), model, store))
    (take,) = done.takes
    assert done.audio[0].shape == source.shape
    assert np.array_equal(kept(done.audio[0], take), kept(source, take))
    assert take.kept_sha256 == sha256(kept(source, take))
    assert sum(r.end_sample - r.start_sample for r in take.changed) == sum(
        r.end_sample - r.start_sample for r in regions
    )
    for region in take.changed:
        inside = slice(region.start_sample, region.end_sample)
        assert not np.array_equal(done.audio[0][:, inside], source[:, inside])
    assert take.seam_db is not None


def test_a_source_in_the_middle_is_continued_on_both_sides(
    model: LoadedModel, store: SourceStore, source: Audio, address: str
) -> None:
    before, after = 10_000, 30_000
    asked = job(
        num_samples=before + LENGTH + after,
        source=Source(address, before),
        regions=(Region(0, before), Region(before + LENGTH, before + LENGTH + after)),
    )
    done = drain(run(asked, model, store))
    assert np.array_equal(done.audio[0][:, before : before + LENGTH], source)
    assert done.takes[0].kept_sha256 == sha256(source)
    step = np.abs(np.diff(done.audio[0], axis=1))
    for edge in (before, before + LENGTH):
        assert step[:, edge - 1].max() <= step.max() / 2, "a click at the edge"


@pytest.mark.parametrize("verb", [edits.continue_after, edits.continue_before])
def test_a_continuation_holds_the_whole_source(
    model: LoadedModel, store: SourceStore, source: Audio, address: str, verb: object
) -> None:
    done = drain(run(verb(job(), address, LENGTH, 25_000), model, store))  # type: ignore[operator]
    first = 0 if verb is edits.continue_after else 25_000
    assert done.audio[0].shape[1] == LENGTH + 25_000
    assert np.array_equal(done.audio[0][:, first : first + LENGTH], source)


def test_a_lower_noise_level_stays_closer_to_the_source(
    model: LoadedModel, store: SourceStore, source: Audio, address: str
) -> None:
    def likeness(noise_level: float) -> float:
        asked = edits.restyle(job(prompt="warm pads", steps=4), address, LENGTH, noise_level)
        done = drain(run(asked, model, store))
        assert done.takes[0].changed == (Region(0, LENGTH),) and done.takes[0].kept_sha256 == ""
        return float(np.corrcoef(done.audio[0].ravel(), source.ravel())[0, 1])

    low, middle, high = (likeness(level) for level in (0.2, 0.6, 0.95))
    assert low > 0.95 and low > middle > high


def test_restyling_a_region_starts_it_from_the_source(
    model: LoadedModel, store: SourceStore, source: Audio, address: str
) -> None:
    region = Region(48_000, 96_000)
    inside = slice(region.start_sample, region.end_sample)

    def likeness(noise_level: float) -> float:
        plain = job(prompt="closed hi-hats", steps=4)  # what the source goes on with by itself is very like it
        asked = replace(edits.inpaint(plain, address, LENGTH, [region]), noise_level=noise_level)
        audio = drain(run(asked, model, store)).audio[0]
        assert np.array_equal(audio[:, : region.start_sample], source[:, : region.start_sample])
        return float(np.corrcoef(audio[:, inside].ravel(), source[:, inside].ravel())[0, 1])

    assert likeness(0.3) > 0.7 > likeness(1.0)


def test_a_loop_keeps_the_source_but_for_its_joint_and_runs_on_into_its_start(
    model: LoadedModel, store: SourceStore, source: Audio, address: str
) -> None:
    done = drain(run(edits.loop(job(steps=6), address, LENGTH), model, store))
    (take,), audio = done.takes, done.audio[0]
    assert take.changed[0].start_sample == 0 and take.changed[-1].end_sample == LENGTH
    assert np.array_equal(kept(audio, take), kept(source, take))
    assert take.kept_sha256 == sha256(kept(source, take))
    round_and_round = np.concatenate((audio[:, -2000:], audio[:, :2000]), axis=1)
    steps = np.abs(np.diff(round_and_round, axis=1)).max(axis=0)
    assert steps[1999] <= np.sort(steps)[-100], "the joint steps like any other sample"


def test_a_loop_from_nothing_meets_its_start(model: LoadedModel) -> None:
    plain, looped = (drain(run(job(num_samples=LENGTH, steps=6, loop=loop), model)) for loop in (False, True))
    step = {
        name: float(np.abs(done.audio[0][:, 0] - done.audio[0][:, -1]).max())
        for name, done in (("plain", plain), ("looped", looped))
    }
    middle = slice(RATE, 2 * RATE)
    assert np.array_equal(plain.audio[0][:, middle], looped.audio[0][:, middle]), "only the joint is made again"
    assert step["looped"] < 0.1
    assert looped.takes[0].changed == (Region(0, LENGTH),) and looped.takes[0].kept_sha256 == ""
    assert looped.progress[-1] == ("sampling", 12, 12)


def test_an_edit_of_a_loop_that_leaves_the_joint_alone_remakes_both(
    model: LoadedModel, store: SourceStore, source: Audio, address: str
) -> None:
    asked = replace(edits.inpaint(job(), address, LENGTH, [Region(60_000, 70_000)]), loop=True)
    done = drain(run(asked, model, store))
    assert len(done.takes[0].changed) == 3
    assert np.array_equal(kept(done.audio[0], done.takes[0]), kept(source, done.takes[0]))


def test_editing_works_between_rates(model: LoadedModel, store: SourceStore) -> None:
    for rate in (44100, 96000):
        generator = np.random.default_rng(1)
        samples = (0.1 * generator.standard_normal((2, 2 * rate + 1))).astype(np.float32)
        asked = edits.inpaint(
            job(sample_rate=rate), put(store.data_dir, samples), 2 * rate + 1, [Region(rate, rate + 999)]
        )
        done = drain(run(asked, model, store))
        assert np.array_equal(kept(done.audio[0], done.takes[0]), kept(samples, done.takes[0]))


def test_the_same_edit_twice_gives_identical_bytes(model: LoadedModel, store: SourceStore, address: str) -> None:
    asked = edits.inpaint(job(steps=3), address, LENGTH, [Region(50_000, 90_000)])
    first, second = (drain(run(asked, model, store)).audio[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_what_kept_samples_do_not_allow_is_refused(model: LoadedModel, store: SourceStore, address: str) -> None:
    edit = edits.inpaint(job(), address, LENGTH, [Region(50_000, 90_000)])
    for changes, field in (
        ({"warp": True}, "warp"),
        ({"loudness_lufs": -14.0}, "loudness_lufs"),
        ({"source": Source("0" * 64)}, "source.audio"),
    ):
        with pytest.raises(InvalidField) as refused:
            drain(run(replace(edit, **changes), model, store))
        assert refused.value.field == field


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_a_source_that_is_no_audio_is_named(model: LoadedModel, store: SourceStore, value: float) -> None:
    samples = np.zeros((2, RATE), dtype=np.float32)
    samples[1, RATE // 2] = value
    asked = edits.inpaint(job(), put(store.data_dir, samples), RATE, [Region(100, 4000)])
    with pytest.raises(InvalidField, match="source.audio .* finite"):
        drain(run(asked, model, store))


def test_the_least_noise_there_is_gives_the_source_back(
    model: LoadedModel, store: SourceStore, address: str, source: Audio
) -> None:
    plain = edits.inpaint(job(steps=1), address, LENGTH, [Region(50_000, 60_000)])
    none, least = (drain(run(replace(plain, noise_level=level), model, store)).audio[0] for level in (1e-300, 1e-30))
    assert np.array_equal(none, least) and np.array_equal(none[:, :50_000], source[:, :50_000])


def test_a_published_form_edits_and_chains_alike(tmp_path: Path) -> None:
    """SAME-S frames in pairs, headroom instead of a lead, pingpong: nothing of the above is nano's alone."""
    published = load_model(write_tiny_model(tmp_path / "model"), "own-music")
    rate = published.spec.sample_rate
    store, length = SourceStore(tmp_path), 9 * rate + 5
    samples = (0.2 * np.random.default_rng(2).standard_normal((2, length))).astype(np.float32)
    plain = job(sample_rate=rate, prompt="", guidance_scale=1.0)
    region = Region(3 * rate + 7, 5 * rate)
    for asked in (
        edits.inpaint(plain, put(tmp_path, samples), length, [region]),
        edits.continue_after(plain, put(tmp_path, samples), length, 2 * rate),
        edits.continue_before(plain, put(tmp_path, samples), length, 2 * rate),
        edits.loop(plain, put(tmp_path, samples), length),
    ):
        done = drain(run(asked, published, store))
        first = asked.source.start_sample if asked.source else 0
        whole = np.zeros((2, asked.num_samples), dtype=np.float32)
        whole[:, first : first + length] = samples
        assert np.array_equal(kept(done.audio[0], done.takes[0]), kept(whole, done.takes[0]))
    short = replace(published, spec=replace(published.spec, max_num_samples=4 * rate))
    chained = drain(run(replace(plain, num_samples=11 * rate + 3), short))
    assert chained.audio[0].shape == (2, 11 * rate + 3) and chained.progress[2][0] == "windows"


def test_a_loop_that_keeps_nothing_of_its_source_claims_to_keep_nothing(
    model: LoadedModel, store: SourceStore, address: str, source: Audio
) -> None:
    whole = (Region(0, source.shape[1]),)
    asked = job(num_samples=source.shape[1], source=Source(address), regions=whole, loop=True, loudness_lufs=-20.0)
    take = drain(run(asked, model, store)).takes[0]
    assert take.changed == whole and take.kept_sha256 == ""
