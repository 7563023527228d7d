"""`sa3-daw batch` against a real daemon whose engine makes tones, killed and started again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from sa3_daw.audio.files import read_wav
from sa3_daw.errors import InvalidField
from sa3_daw.render.batch_jobs import read_items
from tests.running_daemon import PATIENCE_SECONDS, RunningDaemon, environment, wait_for


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("batch") / "run") as running:
        running.engine_pid()
        yield running


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "sa3_daw", *map(str, words)]


def run(daemon: RunningDaemon, *words: str | Path) -> subprocess.CompletedProcess[str]:
    env = environment(daemon.runtime_dir)
    return subprocess.run(
        command(*words), env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def manifest(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_a_table_becomes_files_a_manifest_and_a_report(daemon: RunningDaemon, tmp_path: Path) -> None:
    jobs, out = tmp_path / "jobs.csv", tmp_path / "out"
    jobs.write_text(
        "prompt,seconds,bars,bpm,seed,count,name,rate\n"
        '"Kick, dry <b>",0.25,,,5,2,{index:02}-{prompt}-{seed},48000\n'
        "pad,,1,127.5,,,pad,48000\n"
    )
    done = run(daemon, "batch", jobs, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    names = ["01-kick-dry-b-5.wav", "02-kick-dry-b-6.wav", "pad.wav"]
    assert sorted(path.name for path in out.glob("*.wav")) == names
    assert [read_wav(out / name)[0].shape[1] for name in names] == [12000, 12000, 90353]
    assert [entry["file"] for entry in manifest(out)] == names
    page = (out / "report.html").read_text()
    assert (
        page.count("<audio") == 3
        and "Kick, dry &lt;b&gt;" in page
        and (out / "pictures" / "pad.jpg").stat().st_size < 100_000
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"event": "batch", "made": 3, "failed": 0, "left": 0}


def test_a_killed_run_goes_on_and_loses_nothing(daemon: RunningDaemon, tmp_path: Path) -> None:
    jobs, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    jobs.write_text(json.dumps({"prompt": "step_ms=10", "samples": 512, "count": 20, "name": "{index}"}) + "\n")
    process = subprocess.Popen(command("batch", jobs, "-o", out), env=environment(daemon.runtime_dir))
    lines = out / "manifest.jsonl"
    wait_for("three files", lambda: lines.exists() and lines.read_bytes().count(b"\n") >= 3)
    process.kill()
    process.wait()
    before = {entry["file"]: (out / str(entry["file"])).stat().st_mtime_ns for entry in manifest(out)}
    assert 3 <= len(before) < 20
    with open(lines, "ab") as file:
        file.write(b'{"file": "cut sh')
    done = run(daemon, "batch", jobs, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*.wav"))) == 20
    assert {name: (out / str(name)).stat().st_mtime_ns for name in before} == before
    entries = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert sum(entry["was_there"] for entry in entries) == len(before)


def test_what_is_changed_or_damaged_is_made_again(daemon: RunningDaemon, tmp_path: Path) -> None:
    jobs, out = tmp_path / "jobs.csv", tmp_path / "out"
    jobs.write_text("prompt,samples,name\na,512,a\nb,512,b\nc,512,c\n")
    assert run(daemon, "batch", jobs, "-o", out).returncode == 0
    jobs.write_text("prompt,samples,name\na,512,a\nb,600,b\nc,512,c\n")
    (out / "c.wav").write_bytes(b"")
    done = run(daemon, "batch", jobs, "-o", out, "--json")
    entries = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert {entry["file"]: entry["was_there"] for entry in entries} == {"a.wav": True, "b.wav": False, "c.wav": False}
    assert [read_wav(out / f"{name}.wav")[0].shape[1] for name in "abc"] == [512, 600, 512]


def test_a_failure_stops_the_rest_unless_told_to_keep_going(daemon: RunningDaemon, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("prompt,samples,name\nfail=bad_output,512,a\nfine,512,b\n")
    stopped = run(daemon, "batch", jobs, "-o", tmp_path / "stopped", "--retries", "1", "--in-flight", "1")
    assert stopped.returncode == 1 and "line 2, a.wav: failed as asked" in stopped.stderr
    assert not (tmp_path / "stopped" / "b.wav").exists()
    assert [entry["attempts"] for entry in manifest(tmp_path / "stopped")] == [2]
    kept = run(daemon, "batch", jobs, "-o", tmp_path / "kept", "--keep-going", "--retries", "0")
    assert kept.returncode == 1 and (tmp_path / "kept" / "b.wav").exists()
    assert "failed as asked" in (tmp_path / "kept" / "report.html").read_text()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("model", "huge"),
        ("rate", "8000"),
        ("steps", "100000"),
        ("bars", "99999"),
        ("loudness_lufs", "3"),
        ("negative_prompt", "x" * 100_000),
        ("negative_prompt", "noise"),
    ],
)
def test_what_the_daemon_would_refuse_is_refused_before_anything_runs(
    daemon: RunningDaemon, tmp_path: Path, column: str, value: str
) -> None:
    jobs = tmp_path / "jobs.csv"
    length = ",1" if column != "bars" else ","
    jobs.write_text(f"prompt,seconds,{column}\na,1,\nb{length},{value}\n")
    done = run(daemon, "batch", jobs, "-o", tmp_path / "out")
    assert done.returncode == 2 and f"{jobs} line 3: " in done.stderr, done.stderr
    assert "allowed" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("prompt,secs\na,1\n", 1),
        ("prompt,seconds\na,1\nb,x\n", 3),
        ("prompt,seconds\na,0\n", 2),
        ("prompt,seconds,bars\na,1,1\n", 2),
        ("prompt,seconds\na\n", 2),
        ("prompt,seconds\n,1\n", 2),
        ("prompt,seconds,bpm\na,1,-3\n", 2),
        ("prompt,seconds,meter\na,1,four\n", 2),
        ("prompt,seconds,seed\na,1,1.5\n", 2),
        ("prompt,seconds,name\na,1,../x\n", 2),
        ("prompt,seconds,name\na,1,{prompt.__class__}\n", 2),
        ("prompt,seconds,name\na,1,x\nb,1,X\n", 3),
        ("prompt,seconds,name,count\na,1,x,2\n", 2),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path: Path, table: str, line: int) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(table)
    with pytest.raises(InvalidField, match=f"jobs.csv line {line}: "):
        read_items(jobs)


def test_a_row_of_many_files_is_read_at_once(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("prompt,seconds,count\na,1,20000\n")
    started = perf_counter()
    assert len(read_items(jobs)) == 20_000
    assert perf_counter() - started < 20, "each name once, not each against all others, which takes minutes"


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "\\ud800", "bars": 1}',
        '{"prompt": "a", "bars": 1, "name": "\\ud800"}',
        '{"prompt": "a", "seconds": [1]}',
        "[1]",
        "{",
        '{"prompt": "a", "beats": 4}',
    ],
)
def test_a_bad_json_line_is_refused_by_line(tmp_path: Path, text: str) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"prompt": "a", "bars": "3/4"}\n' + text + "\n")
    with pytest.raises(InvalidField, match=r"jobs.jsonl line 2: "):
        read_items(jobs)
