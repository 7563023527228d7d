"""What lies in a project's folder is what its file says now. Projects of files alone: no daemon takes part."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.client import JobEvent, Stream
from sa3_daw.config import load_config
from sa3_daw.errors import EngineDead
from sa3_daw.job import Job
from sa3_daw.music.timeline import TempoMap
from sa3_daw.protocol.messages import HelloReply
from sa3_daw.render.project import chain_child
from sa3_daw.render.project.digests import job_digest
from sa3_daw.render.project.plan import plan_project
from sa3_daw.render.project.read import read_project
from sa3_daw.render.project.run import Renderer
from sa3_daw.session import Session
from tests.projects import Projects, vst3

RATE = 48000
SONG = """
[project]
rate = 48000
[[tempo]]
bpm = 120
[[track]]
name = "a"
[[track.clip]]
at = 0
kind = "file"
file = "in.wav"
{more}
"""
MIX = "[[output]]\nfile = 'mix.wav'\n"


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Projects:
    soundfile.write(tmp_path / "in.wav", np.linspace(-0.5, 0.5, RATE), RATE)
    return Projects(tmp_path, tmp_path / "run", monkeypatch)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "[[output]]\nfile = '{name}.wav'\nof = 'stems'\n[[output]]\nfile = 'A.wav'\n",
            "line 15: 'A.wav' is the name of line 12 already",
        ),
        (MIX + "[[output]]\nfile = './mix.wav'\n", "line 14: 'mix.wav' is the name of line 12 already"),
        (MIX.replace("mix", "m" * 200), "line 13: file is"),
    ],
    ids=["stem-and-mix", "dot", "too-long"],
)
def test_no_two_outputs_write_one_file(
    projects: Projects, more: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert projects.render(SONG.replace("{more}", more)) == 2
    assert message in capsys.readouterr().err
    assert not (projects.folder / "out").exists()


def test_a_file_of_an_earlier_run_is_not_shown_as_made_when_it_could_not_be(projects: Projects) -> None:
    text = SONG.replace("{more}", MIX)
    assert projects.render(text) == 0
    (projects.folder / "in.wav").write_bytes(b"no audio at all")
    assert projects.render(text, "out", "--keep-going") == 1
    page = (projects.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "not made" in page and "<audio" not in page


def test_a_tempo_that_moves_no_sample_still_moves_the_bars_of_the_picture(projects: Projects) -> None:
    text = SONG.replace("{more}", MIX)
    for tempo in ("bpm = 120", "bpm = 90"):
        assert projects.render(text.replace("bpm = 120", tempo)) == 0
    assert projects.render(text.replace("bpm = 120", "bpm = 90"), "fresh") == 0
    assert projects.bytes_of("out") == projects.bytes_of("fresh")


def test_a_picture_that_is_gone_is_drawn_again_and_each_file_has_its_own(projects: Projects) -> None:
    text = SONG.replace("{more}", "[[output]]\nfile = 's/a.wav'\n[[output]]\nfile = 's-a.wav'\nof = 'a'\n")
    assert projects.render(text) == 0
    pictures = sorted((projects.folder / "out" / "pictures").rglob("*.png"))
    assert len(pictures) == 2
    pictures[0].unlink()
    assert projects.render(text) == 0 and pictures[0].is_file()


def test_a_project_in_which_nothing_sounds_writes_nothing(
    projects: Projects, capsys: pytest.CaptureFixture[str]
) -> None:
    assert projects.render(SONG.partition("[[track.clip]]")[0] + MIX, "out", "--keep-going") == 1
    said = capsys.readouterr()
    assert said.err.count("the project has no length") == 1 and ": 0 of 1 files" in said.out
    assert not (projects.folder / "out" / "mix.wav").exists()


@pytest.mark.parametrize(
    ("clip", "made"),
    [
        ("at = '1s'\nkind = 'file'\nfile = 'none.wav'", False),
        ("at = '1s'\nkind = 'generate'\nlength = 1", False),
        ("at = '1s'\nkind = 'generate'\nlength = '2s'\nprompt = 'x'\nmodel = 'none'", True),
    ],
    ids=["file", "unread", "generate"],
)
def test_a_broken_last_clip_never_shortens_the_stems(projects: Projects, clip: str, made: bool) -> None:
    more = f"[[track]]\nname = 'b'\n[[track.clip]]\n{clip}\n[[output]]\nfile = '{{name}}.wav'\nof = 'stems'\n"
    text = SONG.replace("{more}", more)
    assert projects.render(text, "out", "--keep-going") == 1
    assert (projects.folder / "out" / "a.wav").exists() == made
    assert not made or projects.audio("a.wav").shape[1] == 3 * RATE
    assert projects.render(text.replace("rate = ", "length = '3s'\nrate = "), "out", "--keep-going") == 1
    assert projects.audio("a.wav").shape[1] == 3 * RATE


def test_a_file_that_changes_while_the_project_is_rendered_is_not_taken_for_what_it_was(projects: Projects) -> None:
    project = read_project(SONG.replace("{more}", MIX))
    plan = plan_project(project, projects.folder, load_config())
    soundfile.write(projects.folder / "in.wav", np.zeros(RATE + 1), RATE)
    renderer = Renderer(plan, project.tempo, projects.folder / "out", lambda: pytest.fail("no job here"), 10.0)
    (outcome,) = renderer.run(False, lambda _: None)
    assert outcome.state == "failed" and outcome.problem and "has changed" in outcome.problem.message


def test_a_clip_that_could_not_be_handed_over_ahead_is_handed_over_in_its_turn(projects: Projects) -> None:
    job = "[[track.clip]]\nat = '{}s'\nkind = 'generate'\nprompt = 'x'\nlength = 48000\n"
    project = read_project(SONG.replace("{more}", job.format(1) + job.format(2) + MIX))
    plan = plan_project(project, projects.folder, load_config())
    maker = FailingMaker()
    session = Session(sample_rate=RATE, client=maker)
    renderer = Renderer(plan, project.tempo, projects.folder / "out", lambda: (session, 2), 10.0)
    outcomes = renderer.run(True, lambda _: None)
    assert [each.node.id for each in outcomes if each.state == "failed"] == ["clip a 2", "clip a 3"]
    assert maker.num_asked == 3


class DeadStream:
    """A job whose engine is gone."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __iter__(self) -> Iterator[JobEvent]:
        raise EngineDead("no engine")

    def cancel(self) -> None:
        """Nothing runs."""

    close = cancel


class FailingMaker:
    """A cluster that takes one job and then loses its engines."""

    num_asked = 0

    def hello(self) -> HelloReply:
        raise EngineDead("no engine")

    def submit(self, job: Job) -> Stream:
        self.num_asked += 1
        if self.num_asked > 1:
            raise EngineDead("no engine")
        return DeadStream(job)

    def put_audio(self, samples_CS: NDArray[np.float32]) -> str:
        raise EngineDead("no engine")

    def close(self) -> None:
        """Nothing is held."""


def test_a_text_encoder_in_a_sub_folder_is_part_of_what_a_clip_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "models" / "mine"
    shutil.copytree(EMBEDDED / "nano", model)
    encoder = model / "text" / "model.safetensors"
    encoder.parent.mkdir()
    encoder.write_bytes(b"one")
    monkeypatch.setenv("SA3_MODELS_DIR", str(tmp_path / "models"))
    job = Job(
        job_id="x",
        prompt="x",
        num_samples=1,
        sample_rate=RATE,
        seed=1,
        tempo_map=TempoMap.constant(120.0).points,
        model="mine",
    )
    before = job_digest(job, load_config())
    encoder.write_bytes(b"another")
    assert job_digest(job, load_config()) != before


def test_a_plugin_that_ends_its_process_as_if_all_were_well_is_named(
    projects: Projects, capsys: pytest.CaptureFixture[str]
) -> None:
    vst3(projects.folder, "Quitter.vst3", "_exit(0);")
    text = SONG.replace("{more}", "[[track.effect]]\nplugin = 'Quitter.vst3'\n" + MIX)
    assert projects.render(text) == 1
    assert "line 12: effect Quitter.vst3: ended" in capsys.readouterr().err


class LateBoard:
    """An effect that gives everything back three seconds late, as pedalboard does: with that much less at first."""

    def __init__(self) -> None:
        self._held = np.zeros((2, 0), np.float32)

    def process(self, block: NDArray[np.float32], rate: int, reset: bool) -> NDArray[np.float32]:
        self._held = np.concatenate((self._held, block), axis=1)
        num_out = min(block.shape[1], max(0, self._held.shape[1] - 3 * rate))
        out, self._held = self._held[:, :num_out], self._held[:, num_out:]
        return out


def test_an_effect_may_hold_back_seconds_of_a_long_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_child, "loaded", lambda effect, rate: LateBoard())
    given = np.random.default_rng(1).standard_normal((2, 100_000)).astype(np.float32)
    np.testing.assert_array_equal(chain_child.through({"automation": []}, given, 1000), given)
