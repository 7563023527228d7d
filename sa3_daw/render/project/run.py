"""A plan carried out: what is stored or written already stays, the rest is made in order. Knows no command.

Killed at any moment, the next run makes what is missing: audio and files appear whole, and every file is in the
manifest with the hash of its bytes.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.files import read_wav, stereo
from sa3_daw.errors import DaemonUnreachable, Sa3Error, invalid
from sa3_daw.job import Source
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.picture import draw_picture
from sa3_daw.render.project.chain import render_chain
from sa3_daw.render.project.digests import file_digest
from sa3_daw.render.project.mixing import lay_out, sum_up
from sa3_daw.render.project.nodes import FileWork, JobWork, Node, OutputWork, Plan, StripWork
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.store import Store
from sa3_daw.render.project.writing import Measured, at_rate, write_output
from sa3_daw.session import RunningJob, Session

MANIFEST, CACHE, PICTURES = "manifest.json", "cache", "pictures"
Entry = dict[str, Any]
"""What the manifest says of one file."""


def is_free_job(node: Node) -> bool:
    return isinstance(node.work, JobWork) and node.work.job.source is None


def picture_of(path: str) -> str:
    """Return where the picture of a written file lies."""
    return f"{PICTURES}/{path}.png"


@dataclass(frozen=True)
class Outcome:
    """What became of one node: made now, there already, or not made."""

    node: Node
    state: str
    """made, kept, failed or blocked."""
    problem: Problem | None = None


class Manifest:
    """manifest.json: every file that was written, with its key, the hash of its bytes and what was measured."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / MANIFEST
        self.entries: dict[str, Entry] = {}
        try:
            self.entries = json.loads(self._path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            self.entries = {}  # None yet, or not ours: every file is then written anew.

    def entry(self, path: str, key: str) -> Entry | None:
        """Return what is said of a file, unless it was made of something else."""
        entry = self.entries.get(path)
        return entry if entry and entry["key"] == key else None

    def holds(self, path: str, key: str) -> bool:
        """Tell whether a file is there, made of this very key, and unharmed, and its picture too."""
        entry, file = self.entry(path, key), self._folder / path
        is_there = file.is_file() and (self._folder / picture_of(path)).is_file()
        return bool(entry and is_there and file_digest(file) == entry["sha256"])

    def add(self, path: str, key: str, measured: Measured, rate: int) -> None:
        facts = asdict(measured) | {"key": key, "sha256": file_digest(self._folder / path), "sample_rate": rate}
        self.entries[path] = facts
        self.save()

    def keep_only(self, paths: set[str]) -> None:
        self.entries = {path: entry for path, entry in self.entries.items() if path in paths}
        self.save()

    def save(self) -> None:
        part = self._path.with_name(self._path.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump({"files": self.entries}, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._path)


def to_make(plan: Plan, store: Store, manifest: Manifest) -> list[Node]:
    """Return the nodes that have to be made, in order: outputs that are not there, and what they need."""
    blocked = plan.blocked()
    wanted: set[str] = set()
    for node in reversed([*plan.nodes.values()]):
        if isinstance(node.work, OutputWork):
            is_wanted = node.id not in blocked and not manifest.holds(node.work.path, node.key)
        else:
            is_wanted = node.id in wanted and not store.has(node.key)
        if is_wanted:
            wanted |= {node.id, *node.needs}
        else:
            wanted.discard(node.id)
    return [node for node in plan.nodes.values() if node.id in wanted]


Connect = Callable[[], tuple[Session, int]]
"""Opens a session; returns it and how many jobs it is best given at once."""


class Renderer:
    """Makes nodes one by one in a folder. A session is asked for when a clip needs one."""

    def __init__(self, plan: Plan, tempo: TempoMap, folder: Path, connect: Connect, effect_seconds: float) -> None:
        self._plan = plan
        self._tempo = tempo
        self._folder = folder
        self._connect = connect
        self._session: Session | None = None
        self._in_flight = 0
        self._waiting: deque[Node] = deque()
        """Jobs without a source, which can be handed over before it is their turn."""
        self._running: dict[str, RunningJob] = {}
        self._effect_seconds = effect_seconds
        self.store = Store(folder / CACHE)
        self.manifest = Manifest(folder)

    def run(self, keep_going: bool, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Make everything that is missing; return what became of every file and of every node that failed.

        Without ``keep_going`` the first failure ends it. Raises, before anything is made, what keeps it from a session;
        later DaemonUnreachable and OSError; what is done stays.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = {node.id for node in to_make(self._plan, self.store, self.manifest)}
        failed = self._plan.blocked()
        nodes = self._plan.nodes.values()
        self._waiting.extend(node for node in nodes if node.id in missing and is_free_job(node))
        if any(isinstance(node.work, JobWork) and node.id in missing for node in nodes):
            self._session, self._in_flight = self._connect()
        outcomes: list[Outcome] = []
        try:
            for node in nodes:
                outcome = self._one(node, missing, failed)
                if outcome is None:
                    continue
                on_outcome(outcome)
                outcomes.append(outcome)
                if outcome.state == "failed" and not keep_going:
                    break
            else:
                self._tidy()
        finally:
            for running in self._running.values():
                running.close()
        return outcomes

    def _one(self, node: Node, missing: set[str], failed: dict[str, str]) -> Outcome | None:
        """Make one node, or say why not; None where there is nothing to say."""
        cause = next((failed[need] for need in node.needs if need in failed), failed.get(node.id))
        is_output = node.id.startswith("output ")
        if cause:
            failed.setdefault(node.id, cause)
            return Outcome(node, "blocked", Problem(node.line, f"needs {cause}, which failed")) if is_output else None
        if node.id not in missing:
            return Outcome(node, "kept") if is_output else None
        try:
            self._make(node)
        except DaemonUnreachable:
            raise
        except Sa3Error as error:
            problem = error if isinstance(error, Problem) else Problem(node.line, f"{node.id}: {error.message}")
            failed[node.id] = node.id
            return Outcome(node, "failed", problem)
        return Outcome(node, "made")

    def _make(self, node: Node) -> None:
        work = node.work
        if isinstance(work, FileWork):
            self.store.put(node.key, self._read(work))
        elif isinstance(work, JobWork):
            self.store.put(node.key, self._generate(node, work))
        elif isinstance(work, StripWork):
            self.store.put(node.key, self._strip(node, work))
        elif isinstance(work, OutputWork):
            self._write(node, work)

    def _read(self, work: FileWork) -> NDArray[np.float32]:
        samples, rate, _, _ = read_wav(work.path)
        made = at_rate(stereo(work.path, samples), rate, work.rate)
        if file_digest(work.path) != work.digest:
            raise invalid("file", str(work.path), "what it was when the run began; it has changed since")
        assert made.shape[1] == work.num_samples
        return made

    def _generate(self, node: Node, work: JobWork) -> NDArray[np.float32]:
        assert self._session
        job = work.job
        if job.source is not None:
            audio = self._session.client.put_audio(self._audio(work.source))
            return self._session.run(replace(job, source=Source(audio, job.source.start_sample)))[0].samples
        while self._waiting and (len(self._running) < self._in_flight or node.id not in self._running):
            ahead = self._waiting.popleft()
            assert isinstance(ahead.work, JobWork)
            try:
                self._running[ahead.id] = self._session.start(ahead.work.job)
            except Sa3Error:
                break  # It is handed over again, and fails, in its own turn.
        with self._running.pop(node.id, None) or self._session.start(job) as running:
            return running.clips()[0].samples

    def _strip(self, node: Node, work: StripWork) -> NDArray[np.float32]:
        samples = lay_out(node.num_samples, ((place, self._audio(place.clip)) for place in work.placements))
        if work.feeds:
            fed = ((feed.left, feed.right, self._audio(feed.strip)) for feed in work.feeds)
            samples = samples + sum_up(node.num_samples, fed) if work.placements else sum_up(node.num_samples, fed)
        if not work.effects:
            return samples
        return render_chain(self.store, node.key, samples, self._plan.rate, work.effects, self._effect_seconds)

    def _write(self, node: Node, work: OutputWork) -> None:
        fed = ((feed.left, feed.right, self._audio(feed.strip)) for feed in work.feeds)
        samples = sum_up(node.num_samples, fed)
        measured = write_output(samples, self._plan.rate, self._folder / work.path, work.output)
        picture = self._folder / picture_of(work.path)
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(picture, samples, self._plan.rate, self._tempo, 0, work.path)
        self.manifest.add(work.path, node.key, measured, work.output.rate)

    def _audio(self, node_id: str) -> NDArray[np.float32]:
        return self.store.get(self._plan.nodes[node_id].key)

    def _tidy(self) -> None:
        """Forget files that the project no longer asks for, and audio unused for long."""
        works = [node.work for node in self._plan.nodes.values()]
        self.manifest.keep_only({work.path for work in works if isinstance(work, OutputWork)})
        self.store.sweep({node.key for node in self._plan.nodes.values()})
