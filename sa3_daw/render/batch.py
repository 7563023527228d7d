"""Many jobs through one maker into one folder, with a manifest from which a killed run goes on. Knows no command."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sa3_daw.client import audio_address, new_job_id
from sa3_daw.errors import DaemonUnreachable, EngineError, Sa3Error
from sa3_daw.music.timeline import TempoMap
from sa3_daw.recipe import write_take
from sa3_daw.render.batch_jobs import Item
from sa3_daw.render.batch_picture import draw_strip
from sa3_daw.render.maker import Maker
from sa3_daw.session import RunningJob

MANIFEST, PICTURES = "manifest.jsonl", "pictures"
Entry = dict[str, Any]
"""One line of the manifest: what became of one item."""


@dataclass(frozen=True)
class Policy:
    """How many jobs are handed over at once, how often a failed one is tried again, and whether the rest goes on."""

    in_flight: int = 4
    retries: int = 2
    keep_going: bool = False


class Manifest:
    """manifest.jsonl: a line is on the disk before the next file is begun; the last line of an item counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / MANIFEST
        self._entries: dict[str, Entry] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        for line in content.split(b"\n"):
            try:
                entry = json.loads(line)
                self._entries[entry["file"]] = entry
            except (ValueError, TypeError, KeyError):
                continue  # Cut short by a kill: its item is simply made again.
        self._needs_newline = bool(content) and not content.endswith(b"\n")

    def done(self, item: Item) -> Entry | None:
        """Return the entry of an item whose file is there, whole, and was made by this very job."""
        entry = self._entries.get(item.name)
        path = self._folder / item.name
        if entry is None or entry.get("key") != item.key or entry.get("error") is not None or not path.is_file():
            return None
        return entry if path.stat().st_size == entry.get("num_bytes") else None

    def add(self, entry: Entry) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with open(self._path, "ab") as file:
            file.write(b"\n" + line if self._needs_newline else line)
            file.flush()
            os.fsync(file.fileno())
        self._needs_newline = False
        self._entries[entry["file"]] = entry


def run_batch(
    maker: Maker, items: Sequence[Item], folder: Path, policy: Policy, on_entry: Callable[[Entry, bool], None]
) -> list[Entry]:
    """Make what is not made yet; return an entry per item that was reached, in order.

    ``on_entry`` hears each entry and whether it was there before. Raises DaemonUnreachable; what is done stays done.
    """
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    manifest = Manifest(folder)
    entries: dict[int, Entry] = {}
    pending: deque[tuple[Item, int]] = deque()
    for item in items:
        if entry := manifest.done(item):
            entries[item.index] = entry
            on_entry(entry, True)
        else:
            pending.append((item, 0))
    running: deque[tuple[Item, int, RunningJob]] = deque()
    try:
        while pending or running:
            while pending and len(running) < policy.in_flight:
                item, attempt = pending.popleft()
                job = replace(item.job, job_id=new_job_id())
                running.append((item, attempt, RunningJob(maker.submit(job))))
            item, attempt, begun = running.popleft()
            try:
                entry = make(item, begun, folder)
            except DaemonUnreachable:
                raise
            except Sa3Error as error:
                if isinstance(error, EngineError) and attempt < policy.retries:
                    pending.appendleft((item, attempt + 1))
                    continue
                entry = entry_of(item) | {"error": error.message, "code": error.code}
            finally:
                begun.close()
            manifest.add(entry | {"attempts": attempt + 1})
            entries[item.index] = entry
            on_entry(entry, False)
            if "error" in entry and not policy.keep_going:
                break
    finally:
        for _, _, begun in running:
            begun.close()
    return [entries[index] for index in sorted(entries)]


def make(item: Item, running: RunningJob, folder: Path) -> Entry:
    """Read one job to its end and write its file and picture; return its entry."""
    (clip,) = running.clips()
    assert clip.take and running.finished
    path, audio = folder / item.name, audio_address(clip.samples)
    write_take(path, clip.samples, clip.job, clip.take.take_id, audio)
    picture = folder / PICTURES / f"{path.stem}.jpg"
    draw_strip(picture, clip.samples, clip.sample_rate, TempoMap(clip.job.tempo_map))
    made = asdict(clip.take.made)
    return entry_of(item) | {
        "take_id": clip.take.take_id,
        "audio": audio,
        "num_bytes": path.stat().st_size,
        "picture": f"{PICTURES}/{picture.name}",
        "measured": {name: made[name] for name in ("peak_db", "rms_db", "loudness_lufs", "beats", "key")},
        "timings_seconds": running.finished.timings_seconds,
    }


def entry_of(item: Item) -> Entry:
    job = item.job
    return {
        "file": item.name,
        "line": item.line,
        "index": item.index,
        "key": item.key,
        "prompt": job.prompt,
        "model": job.model,
        "seed": job.seed,
        "bpm": job.tempo_map[0].bpm,
        "num_samples": job.num_samples,
        "sample_rate": job.sample_rate,
    }
