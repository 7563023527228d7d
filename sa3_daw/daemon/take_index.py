"""The takes' index: SQLite over sidecar files, which are the truth. Knows no audio bytes and no client.

Each take has a JSON sidecar in ``data_dir/takes``. The index makes them searchable; when it is corrupt or lost it is
set aside and built again from the sidecars, so no take depends on it. A take that is deleted on a disk too full for the
index to change is held to be gone in memory until it can be.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from sa3_daw.job import Job
from sa3_daw.protocol.messages import ListTakes, TakeInfo

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION = 1
SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE IF NOT EXISTS takes (
    take_id TEXT PRIMARY KEY, job_id TEXT, audio TEXT, source TEXT, prompt TEXT,
    starred INT, interrupted INT, record BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (tag TEXT, take_id TEXT, PRIMARY KEY (tag, take_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS takes_by_job ON takes (job_id);
CREATE INDEX IF NOT EXISTS takes_by_audio ON takes (audio);
CREATE INDEX IF NOT EXISTS takes_by_source ON takes (source);
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE gone (take_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP VIEW listed AS SELECT * FROM takes WHERE take_id NOT IN (SELECT take_id FROM gone);
"""


@dataclass(frozen=True)
class Record:
    """What a sidecar holds."""

    take: TakeInfo
    job: Job


_DECODER = msgspec.json.Decoder(Record)


class TakeIndex:
    """Records of takes, on disk. Every method raises OSError or sqlite3.Error when the disk fails it."""

    def __init__(self, data_dir: Path) -> None:
        self._sidecars = data_dir / "takes"
        self._path = data_dir / "takes.sqlite"
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the index and bring it in line with the sidecars. A folder that takes nothing gets one in memory."""
        try:
            self._sidecars.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = self._connect(str(self._path))
        except (OSError, sqlite3.OperationalError) as error:
            self._open_in_memory(error)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        try:
            self._reconcile()
        except sqlite3.OperationalError as error:  # Locked, or the disk is full.
            self.close()
            self._open_in_memory(error)
            self._reconcile()
        except sqlite3.DatabaseError as error:  # A page behind the first is damaged.
            self._set_aside(error)
            self._reconcile()

    def close(self) -> None:
        """Close the index."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def put(self, record: Record) -> None:
        """Write a take, new or changed: its sidecar first, then the index."""
        path = self._sidecar(record.take.take_id)
        part = path.with_suffix(".part")
        self._sidecars.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(part, "wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        self._query(lambda db: _insert(db, record))

    def disown(self, take_id: str) -> None:
        """Remove a take's sidecar: from now on the take is gone, though it is still in the index until ``sweep``."""
        self._sidecar(take_id).unlink(missing_ok=True)
        self._query(lambda db: db.execute("INSERT OR IGNORE INTO gone VALUES (?)", (take_id,)))

    def sweep(self) -> None:
        """Take out of the index what is gone; on a full disk that waits for the next time."""
        try:
            self._query(_sweep)
        except sqlite3.OperationalError as error:
            log.error("deleted takes stay in the index, unlisted: %s", error)

    def get(self, take_id: str) -> Record | None:
        """Return a take by its id."""
        return next(iter(self._records("WHERE take_id = ?", (take_id,))), None)

    def of_job(self, job_id: str) -> list[Record]:
        """Return a job's takes, oldest first."""
        return self._records("WHERE job_id = ? ORDER BY take_id", (job_id,))

    def of_audio(self, audio: str) -> list[str]:
        """Return the ids of the takes with that audio, oldest first."""
        rows = self._query(
            lambda db: db.execute("SELECT take_id FROM listed WHERE audio = ? ORDER BY take_id", (audio,)).fetchall()
        )
        return [row[0] for row in rows]

    def needs(self, audio: str, without: str) -> bool:
        """Tell whether a take other than ``without`` is that audio, or was made from it."""
        sql = "SELECT 1 FROM listed WHERE (audio = ? OR source = ?) AND take_id != ? LIMIT 1"
        return bool(self._query(lambda db: db.execute(sql, (audio, audio, without)).fetchone()))

    def search(self, request: ListTakes) -> tuple[TakeInfo, ...]:
        """Return takes newest first, as asked."""
        conditions = ["(? = '' OR take_id < ?)", "(? = '' OR instr(prompt, ?) > 0)", "(? = 0 OR starred = 1)"]
        text = request.text.casefold()
        values: list[object] = [request.before, request.before, text, text, int(request.starred)]
        if request.tag:
            conditions.append("take_id IN (SELECT take_id FROM tags WHERE tag = ?)")
            values.append(request.tag)
        where = f"WHERE {' AND '.join(conditions)} ORDER BY take_id DESC LIMIT ?"
        return tuple(record.take for record in self._records(where, (*values, request.limit)))

    def all_needed(self) -> set[str]:
        """Return all audio that takes are or were made from."""
        sql = "SELECT audio FROM listed UNION SELECT source FROM listed"
        return {row[0] for row in self._query(lambda db: db.execute(sql).fetchall())}

    def expendable(self) -> Iterator[Record]:
        """Yield the unstarred takes, interrupted ones first, then the oldest. Each must be disowned when it comes."""
        while records := self._records("WHERE starred = 0 ORDER BY interrupted DESC, take_id LIMIT 100", ()):
            yield from records

    def count(self) -> int:
        """Return how many takes there are."""
        number: int = self._query(lambda db: db.execute("SELECT count(*) FROM listed").fetchone()[0])
        return number

    def last_id(self) -> str:
        """Return the newest take's id; empty when there is none."""
        return str(self._query(lambda db: db.execute("SELECT coalesce(max(take_id), '') FROM takes").fetchone()[0]))

    def _records(self, where: str, values: tuple[object, ...]) -> list[Record]:
        sql = f"SELECT record FROM listed {where}"
        return self._query(lambda db: [_DECODER.decode(row[0]) for row in db.execute(sql, values)])

    def _query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the index; one that turns out corrupt is built again and asked once more."""
        assert self._db is not None
        try:
            with self._db:
                return ask(self._db)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            self._set_aside(error)
            self._reconcile()
            with self._db:
                return ask(self._db)

    def _connect(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=1.0)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"its schema has version {version}, this package version {SCHEMA_VERSION}")
            db.executescript(SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _set_aside(self, error: Exception) -> None:
        """Keep a corrupt index for whoever wants to look at it, and start an empty one."""
        log.error("the index of takes is set aside and built again from the sidecars: %s", error)
        self.close()
        try:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self._path}{suffix}", f"{self._path}.corrupt{suffix}")
            self._db = self._connect(str(self._path))
        except (OSError, sqlite3.Error) as worse:
            self._open_in_memory(worse)

    def _open_in_memory(self, error: Exception) -> None:
        log.error("the index of takes cannot be written, so it is kept in memory: %s", error)
        self._db = self._connect(":memory:")

    def _reconcile(self) -> None:
        """Add takes that only their sidecars know, forget those whose sidecar is gone."""
        assert self._db is not None
        try:
            names = os.listdir(self._sidecars)
        except OSError as error:
            log.error("the takes of %s cannot be listed: %s", self._sidecars, error)
            return
        there = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        known = {row[0] for row in self._db.execute("SELECT take_id FROM takes")}
        with self._db:
            for take_id in known - there:
                _delete(self._db, take_id)
            for take_id in there - known:
                record = self._read_sidecar(take_id)
                if record is not None:
                    _insert(self._db, record)

    def _read_sidecar(self, take_id: str) -> Record | None:
        try:
            return _DECODER.decode(self._sidecar(take_id).read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("take %s cannot be read and is left alone: %s", take_id, error)
            return None

    def _sidecar(self, take_id: str) -> Path:
        return self._sidecars / f"{take_id}.json"


def _insert(db: sqlite3.Connection, record: Record) -> None:
    take = record.take
    _delete(db, take.take_id)
    db.execute(
        "INSERT INTO takes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            take.take_id,
            take.job_id,
            take.audio,
            take.source,
            take.prompt.casefold(),
            take.starred,
            take.interrupted,
            msgspec.json.encode(record),
        ),
    )
    db.executemany("INSERT INTO tags VALUES (?, ?)", [(tag, take.take_id) for tag in take.tags])


def _sweep(db: sqlite3.Connection) -> None:
    for (take_id,) in db.execute("SELECT take_id FROM gone").fetchall():
        _delete(db, take_id)
    db.execute("DELETE FROM gone")


def _delete(db: sqlite3.Connection, take_id: str) -> None:
    db.execute("DELETE FROM takes WHERE take_id = ?", (take_id,))
    db.execute("DELETE FROM tags WHERE take_id = ?", (take_id,))
