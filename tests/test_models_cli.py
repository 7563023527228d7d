"""`sa3-daw models` in real processes against a hub on a local port: fetch, licence, offline, verify, import, remove."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_hub import FakeHub
from tests.tiny_published import write_tiny_model

Result = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parent.parent
REVISION = "a" * 40
REPOSITORY = "stabilityai/stable-audio-3-small-music"

RUN = """
import json, sys
from sa3_daw.cli import main
from sa3_daw.published import PUBLISHED, Published
PUBLISHED["small-music"] = Published("small-music", **json.loads(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""
"""The real command; only the pinned hashes are those of the tiny model."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("hub") / "small-music")
    (folder / "LICENSE.md").write_text("Community licence")
    (folder / "svd_bases.pt").write_bytes(b"\x80pickle")
    return folder


@pytest.fixture
def hub(tiny: Path) -> Iterator[FakeHub]:
    with FakeHub({REPOSITORY: tiny}).serve() as running:
        yield running


@pytest.fixture
def models(tiny: Path, hub: FakeHub, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs `sa3-daw ARGUMENTS` in a home of its own."""
    table = {
        "repository": REPOSITORY, "revision": REVISION, "weights_bytes": 1000,
        "weights_sha256": digest(tiny / "model.safetensors"), "config_sha256": digest(tiny / "model_config.json"),
        "is_gated": True,
    }  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SA3_"))}
    environment = kept | {
        "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1", "SA3_MODELS_DIR": str(tmp_path / "models"),
        "SA3_DATA_DIR": str(tmp_path / "data"), "SA3_RUNTIME_DIR": str(tmp_path / "run"),
    }  # fmt: skip

    def run(*arguments: str | Path, **pinned: str) -> Result:
        code = [sys.executable, "-W", "error::UserWarning", "-c", RUN, json.dumps(table | pinned)]
        words = [*code, *map(str, arguments)]
        return subprocess.run(
            words, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=120
        )

    return run


def test_a_published_model_is_fetched_verified_found_used_offline_and_removed(
    models: Callable[..., Result], hub: FakeHub, tmp_path: Path
) -> None:
    done = models("models", "pull", "small-music")
    assert done.returncode == 0, done.stderr
    for sentence in ("is the published file", "keys: every one is wanted", "first run", "licence at https://"):
        assert sentence in done.stdout
    snapshot = tmp_path / "cache" / "models--stabilityai--stable-audio-3-small-music" / "snapshots" / REVISION
    names = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
    assert {"model.safetensors", "LICENSE.md", "t5gemma-b-b-ul2/tokenizer.json"} <= names
    assert "svd_bases.pt" not in names, "pickles are not even fetched"
    assert models("models").stdout.splitlines()[2].startswith("small-music ")
    shown = models("models", "info", "small-music").stdout
    assert "'TrackType: Music, VocalType: Instrumental, your words'" in shown and "t5gemma-b-b-ul2/: there" in shown
    hub.requests.clear()
    assert models("models", "pull", "small-music", "--offline").returncode == 0
    assert hub.requests == []
    assert models("models", "rm", "small-music", "--yes").returncode == 0
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    assert "not installed" in models("models", "info", "small-music").stdout


def test_offline_opens_no_connection_and_says_what_is_lacking(models: Callable[..., Result], hub: FakeHub) -> None:
    done = models("models", "pull", "small-music", "--offline")
    assert done.returncode == 1 and "--offline forbids fetching it" in done.stderr and done.stderr.count("\n") == 1
    assert hub.requests == []


def test_a_gated_model_explains_the_licence_step_by_step(models: Callable[..., Result], hub: FakeHub) -> None:
    hub.gated.add(REPOSITORY)
    done = models("models", "pull", "small-music")
    assert done.returncode == 1
    for word in (
        "1. log in at https://huggingface.co/stabilityai",
        "2. make a token",
        "3. run: hf auth login",
        "4. run",
    ):
        assert word in done.stderr


def test_an_unreachable_hub_is_one_sentence(models: Callable[..., Result], hub: FakeHub) -> None:
    hub.repositories.clear()
    done = models("models", "pull", "small-music")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_other_bytes_than_the_pinned_ones_are_refused_with_the_command_that_mends_it(
    models: Callable[..., Result],
) -> None:
    done = models("models", "pull", "small-music", weights_sha256="0" * 64)
    assert done.returncode == 1 and "not the published file" in done.stderr
    assert "sa3-daw models pull small-music" in done.stderr


def test_a_folder_is_imported_verified_listed_and_removed(
    models: Callable[..., Result], tiny: Path, tmp_path: Path
) -> None:
    done = models("models", "import", tiny, "--name", "mine")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "models" / "mine"
    assert (home / "model.safetensors").stat().st_ino == (tiny / "model.safetensors").stat().st_ino, "no second copy"
    assert not (home / "svd_bases.pt").exists()
    again = models("models", "import", tiny, "--name", "mine")
    assert again.returncode == 2 and "installed already" in again.stderr
    made_of_it = tmp_path / "data" / "cache" / "converted" / "mine"
    made_of_it.mkdir(parents=True)
    assert f"in {made_of_it}" in models("models", "info", "mine").stdout
    assert "would delete" in models("models", "rm", "mine").stdout and home.exists()
    assert models("models", "rm", "mine", "--yes").returncode == 0 and not home.exists() and not made_of_it.exists()
    assert (tiny / "model.safetensors").exists()


def test_a_damaged_folder_is_not_imported(models: Callable[..., Result], tiny: Path, tmp_path: Path) -> None:
    broken = write_tiny_model(tmp_path / "broken")
    content = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(content[: len(content) // 2])
    done = models("models", "import", broken)
    assert done.returncode == 1 and "is incomplete" in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "words",
    [["pull", "large"], ["verify", "absent"], ["info", "absent"], ["rm", "absent"], ["rm", "nano", "--yes"],
     ["import", "nowhere"]],
)  # fmt: skip
def test_wrong_names_are_one_sentence(models: Callable[..., Result], words: list[str]) -> None:
    done = models("models", *words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("sa3-daw: ")


def test_a_broken_model_is_listed_with_its_fault(models: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "models" / "odd").mkdir(parents=True)
    (tmp_path / "models" / "odd" / "model_config.json").write_text('{"model": {}}')
    assert "odd                cannot be used:" in models("models").stdout
