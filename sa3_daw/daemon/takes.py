"""The take store: what was made, kept with its recipe, within a budget. Knows no client and no engine.

Latents count in the budget and go first, because they can be made again.

A disk that takes nothing costs the take and never the job: ``problem`` says what is wrong.
"""

from __future__ import annotations

import logging
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from time import time
from typing import TypeVar

from sa3_daw import __version__
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.audio_store import AudioStore, storage_error
from sa3_daw.daemon.job_checks import too_large
from sa3_daw.daemon.latent_shelf import LatentShelf
from sa3_daw.daemon.limits import MAX_LISTED_TAKES, MAX_SEARCH_BYTES, MAX_TAG_BYTES, MAX_TAGS
from sa3_daw.daemon.spool import AudioSpool
from sa3_daw.daemon.take_index import Record, TakeIndex
from sa3_daw.errors import InvalidField, LimitExceeded, invalid
from sa3_daw.job import Job, content_of
from sa3_daw.logs import about
from sa3_daw.protocol.messages import (
    ChangeTake,
    CollectGarbageReply,
    ListTakes,
    StoreStatus,
    Take,
    TakeInfo,
)
from sa3_daw.take import TakeMade

log = logging.getLogger(__name__)

T = TypeVar("T")

TAKE_ID = re.compile(r"[0-9]{8}-[0-9a-f]{8}", re.ASCII)
ORPHAN_PATIENCE_SECONDS = 600.0
"""Audio that no take needs is left so long for the job it was sent for."""
MAX_DELETED_AT_ONCE = 64
"""More than a job can make; it takes 30 ms."""
KEPT_SHARE = 0.9
"""An overfull store is emptied down to this share of its budget, so that not every take has to make room."""


class TakeStore:
    """Takes of one data folder. ``in_use`` tells which audio live jobs need."""

    def __init__(self, config: DaemonConfig, audio: AudioStore, in_use: Callable[[], Collection[str]]) -> None:
        self._audio = audio
        self._in_use = in_use
        self._index = TakeIndex(config.data_dir)
        self._latents = LatentShelf(config.data_dir)
        self._budget_bytes = config.takes_budget_mb << 20
        self._next_number = 0
        self.problem = ""

    def open(self) -> None:
        """Read what is there. Never raises for the disk's sake."""
        self._audio.open()
        self._latents.open()
        self._index.open()
        last = self._index.last_id()
        self._next_number = int(last[:8]) + 1 if TAKE_ID.fullmatch(last) else 0

    @property
    def num_bytes(self) -> int:
        """What audio and latents use on disk, as far as it was seen."""
        return self._audio.num_bytes + self._latents.num_bytes

    def latents_written(self, num_bytes: int) -> None:
        """Count latents that an engine has written, and make room for them."""
        self._latents.written(num_bytes)
        self.make_room()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def add(
        self, job: Job, made: TakeMade, spool: AudioSpool, sealed: str | Exception, *, interrupted: bool = False
    ) -> Take:
        """Store one variation, sealed under its address; the reply names it, or says why it could not be stored.

        The recipe comes first: who dies before the audio is in its place leaves both, and the next one completes them.
        """
        try:
            if isinstance(sealed, Exception):
                raise OSError(str(sealed))
            audio = sealed
            known = self._known(job, made, audio, interrupted=interrupted)
            source = job.source.audio if job.source else ""
            info = known or TakeInfo(
                take_id=f"{self._next_number:08d}-{secrets.token_hex(4)}",
                audio=audio,
                job_id=job.job_id,
                created_seconds=time(),
                model=job.model,
                prompt=job.prompt,
                sample_rate=job.sample_rate,
                made=made,
                source=source,
                parents=tuple(self._index.of_audio(source)) if source else (),
                interrupted=interrupted,
                daemon_version=__version__,
            )
            try:
                if known is None:
                    self._index.put(Record(info, job))
                self._audio.keep(spool, audio)
            except (OSError, sqlite3.Error):
                if known is None or not self._audio.num_samples(audio):
                    self._index.disown(info.take_id)
                raise
        except (OSError, sqlite3.Error) as error:
            self.problem = str(error)
            log.error("a take is not stored: %s", error, extra=about(job.job_id))
            return Take("", "", made, f"the take could not be stored: {error}")
        self.problem = ""
        self._next_number += known is None
        return Take(info.take_id, audio, info.made)

    def make_room(self) -> None:
        """Come closer to the configured budget, a few takes at a time, so that nobody waits for it. Never raises."""
        if not self._budget_bytes or self.num_bytes <= self._budget_bytes:
            return
        try:
            gone = self._collect(int(self._budget_bytes * KEPT_SHARE), MAX_DELETED_AT_ONCE)
            log.info("%d takes deleted, %d bytes freed, to keep to the budget", gone.num_takes, gone.num_bytes)
        except (OSError, sqlite3.Error) as error:
            log.error("no room can be made in the store: %s", error)

    def make_room_for(self, num_bytes: int) -> None:
        """Make room for audio that a client sends. Raises LimitExceeded when it does not fit into the budget."""
        limit = self._budget_bytes
        if not limit or self.num_bytes + num_bytes <= limit:
            return
        if num_bytes <= limit:
            self.collect_garbage(min(int(limit * KEPT_SHARE), limit - num_bytes))
        if self.num_bytes + num_bytes > limit:
            allowed = f"at most {max(0, limit - self.num_bytes)} bytes, what takes_budget_mb leaves"
            shown = f"{num_bytes} bytes"
            raise LimitExceeded(
                f"audio of {shown} does not fit; {allowed}", field="num_samples", value=shown, allowed=allowed
            )

    def result_of(self, job: Job) -> list[TakeInfo]:
        """Return a job's takes when all of them are stored whole. Raises InvalidField when its id was another job's.

        A store that cannot be read holds no result, so the job is computed.
        """
        try:
            records = [record for record in self._index.of_job(job.job_id) if not record.take.interrupted]
        except (OSError, sqlite3.Error) as error:
            log.error("stored takes cannot be looked up: %s", error, extra=about(job.job_id))
            return []
        if any(not same_content(record.job, job) for record in records):
            raise invalid("job_id", job.job_id, "an id that no stored take's job had with other content")
        takes = {record.take.made.variation: record.take for record in records}
        if sorted(takes) != list(range(job.num_variations)):
            return []
        whole = all(self._audio.num_samples(take.audio) == take.made.num_samples for take in takes.values())
        return [takes[variation] for variation in sorted(takes)] if whole else []

    def search(self, request: ListTakes) -> tuple[TakeInfo, ...]:
        """Return takes, newest first."""
        if not 1 <= request.limit <= MAX_LISTED_TAKES:
            raise invalid("limit", request.limit, f"1 to {MAX_LISTED_TAKES}")
        if request.before and not TAKE_ID.fullmatch(request.before):
            raise invalid("before", request.before, "a take's id, or empty")
        for field, text in (("text", request.text), ("tag", request.tag)):
            if len(text.encode("utf-8")) > MAX_SEARCH_BYTES:
                raise too_large(field, len(text.encode("utf-8")), MAX_SEARCH_BYTES, "UTF-8 bytes")
        return self._asked(lambda: self._index.search(request))

    def get(self, take_id: str) -> Record:
        """Return a take and its recipe. Raises InvalidField when there is none."""
        record = self._find(take_id)
        if record is None:
            raise unknown_take(take_id)
        return record

    def change(self, request: ChangeTake) -> TakeInfo:
        """Star and tag a take."""
        record = self.get(request.take_id)
        tags = [tag for tag in record.take.tags if tag not in request.remove_tags]
        tags += [tag for tag in dict.fromkeys(request.add_tags) if tag not in tags]
        check_tags(tags)
        starred = record.take.starred if request.starred is None else request.starred
        take = replace(record.take, starred=starred, tags=tuple(tags))
        self._asked(lambda: self._index.put(Record(take, record.job)))
        return take

    def delete(self, take_id: str) -> bool:
        """Delete a take, and audio that nothing needs any more; False when there is no such take."""
        record = self._find(take_id)
        if record is not None:
            self._asked(lambda: self._forget(record))
            self._index.sweep()
        return record is not None

    def collect_garbage(self, budget_bytes: int | None = None) -> CollectGarbageReply:
        """Delete what nobody needs, then takes, until the store is within its budget."""
        limit = self._budget_bytes if budget_bytes is None else budget_bytes
        return self._asked(lambda: self._collect(limit if budget_bytes is not None or limit else None, None))

    def status(self) -> StoreStatus:
        """Say how much there is."""
        try:
            num_takes = self._index.count()
        except (OSError, sqlite3.Error) as error:
            num_takes, self.problem = 0, str(error)
        return StoreStatus(num_takes, self.num_bytes, self._budget_bytes, self.problem)

    def _known(self, job: Job, made: TakeMade, audio: str, *, interrupted: bool) -> TakeInfo | None:
        """Return the take that this one is again: of a run before it, or of a daemon that died over it."""
        takes = (record.take for record in self._index.of_job(job.job_id) if same_content(record.job, job))
        same = (take for take in takes if (take.audio, take.made.variation) == (audio, made.variation))
        return next((take for take in same if interrupted or not take.interrupted), None)

    def _find(self, take_id: str) -> Record | None:
        return self._asked(lambda: self._index.get(take_id)) if TAKE_ID.fullmatch(take_id) else None

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (OSError, sqlite3.Error) as error:
            raise storage_error(str(error)) from error

    def _forget(self, record: Record) -> int:
        """Delete one take; return the bytes freed. The index is swept after: on a full disk it needs some of them."""
        take = record.take
        orphans = [audio for audio in {take.audio, take.source} - {""} if self._is_orphan(audio, take.take_id)]
        self._index.disown(take.take_id)
        return sum(self._remove_audio(audio) for audio in orphans)

    def _remove_audio(self, audio: str) -> int:
        return self._audio.remove(audio) + self._latents.remove_of(audio)

    def _is_orphan(self, audio: str, without: str) -> bool:
        """Tell whether stored audio is needed by no job and by no take but one."""
        needed = audio in self._in_use() or self._index.needs(audio, without)
        return not needed and self._audio.num_samples(audio) > 0

    def _collect(self, limit: int | None, most: int | None) -> CollectGarbageReply:
        """Delete at most so many takes; ``limit`` None deletes only what no take needs."""
        now, num_takes, num_freed = time(), 0, 0
        files = list(self._audio.files())
        self._audio.num_bytes = sum(num_bytes for _, num_bytes, _ in files)
        needed = self._index.all_needed() | set(self._in_use())
        for audio, _, changed in files:
            if audio not in needed and abs(now - changed) > ORPHAN_PATIENCE_SECONDS:
                num_freed += self._remove_audio(audio)
        excess = None if limit is None else max(0, self.num_bytes - limit)
        num_freed_latents = self._latents.collect(lambda audio: self._audio.path(audio).is_file(), excess, most)
        num_freed += num_freed_latents
        some_wait = most is not None and num_freed_latents > 0 and self._latents.num_bytes > 0
        if limit is None or some_wait:  # The next latents go next time, before any take.
            return CollectGarbageReply(0, num_freed)
        for record in self._index.expendable():
            if self.num_bytes <= limit or num_takes == most:
                break
            num_freed += self._forget(record)
            num_takes += 1
        self._index.sweep()
        return CollectGarbageReply(num_takes, num_freed)


def same_content(one: Job, other: Job) -> bool:
    """Tell whether two jobs make the same audio, whoever waits for it and how urgently."""
    return content_of(one) == content_of(other)


def check_tags(tags: Collection[str]) -> None:
    """Raise InvalidField or LimitExceeded unless a take may carry these tags."""
    if len(tags) > MAX_TAGS:
        raise too_large("add_tags", len(tags), MAX_TAGS, "tags")
    for tag in tags:
        if not tag or not tag.isprintable() or len(tag.encode("utf-8")) > MAX_TAG_BYTES:
            raise invalid("add_tags", tag, f"printable text of 1 to {MAX_TAG_BYTES} UTF-8 bytes")


def unknown_take(take_id: str) -> InvalidField:
    """Return the error for an id that no take has."""
    return invalid("take_id", take_id, "the id of a stored take")
