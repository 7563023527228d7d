"""What one job makes, recorded as it comes: audio into spools, whole variations into the store. Knows no client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS
from sa3_daw.daemon.audio_store import AudioStore
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.delivery import Entry
from sa3_daw.daemon.journal import run_name
from sa3_daw.daemon.limits import MAX_KEPT_BYTES, MAX_PIECE_SAMPLES
from sa3_daw.daemon.spool import BYTES_PER_SAMPLE, AudioSpool, read_piece
from sa3_daw.daemon.takes import TakeStore
from sa3_daw.errors import EngineError
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Audio, Take, TakeInfo
from sa3_daw.take import TakeMade


class Recorder:
    """The recording of one job. A job that is run again goes on where its first run ended."""

    def __init__(self, job: Job, audio: AudioStore, takes: TakeStore, back_room: BackRoom) -> None:
        self.job = job
        self._name = run_name(job)
        self._back_room = back_room
        self._audio = audio
        self._takes = takes
        self._spools: dict[tuple[int, bool], AudioSpool] = {}
        self._completed: set[int] = set()
        self._storing: set[int] = set()
        self._settled: Callable[[], None] | None = None
        self.addresses: set[str] = {job.source.audio} if job.source else set()
        """Stored audio this job needs while it lives."""
        self.made: list[str] = []
        """The audio of its whole takes, as far as they were stored."""

    def take_up(self, complete: Mapping[int, TakeMade]) -> None:
        """Store what a daemon that died had recorded of this job and not stored; ``complete`` tells what was whole."""
        for variation in range(self.job.num_variations):
            left = self._audio.take_left(f"{self._name}.{variation}")
            if left is not None:
                self._spools[variation, False] = left
                if variation in complete and left.num_written == self.job.num_samples:
                    self._store(complete[variation], left, lambda _: self._takes.make_room(), interrupted=False)
        self.interrupt()

    def add(self, message: Audio, buffer: bytes) -> tuple[Entry, bytes] | None:
        """Record a chunk; return what is new in it, None when all of it was here.

        Raises EngineError on a gap, and when the disk takes nothing and there is too much to be kept in memory.
        """
        if not 0 <= message.variation < self.job.num_variations or message.num_channels != NUM_CHANNELS:
            raise EngineError(f"the engine sent {message}, which the job has not asked for")
        if len(buffer) != message.num_samples * BYTES_PER_FRAME:
            raise EngineError(f"the engine sent {len(buffer)} bytes for {message.num_samples} samples")
        spool = self._spool(message.variation, message.draft)
        end = message.start_sample + message.num_samples
        if message.start_sample > spool.num_written or end > spool.num_samples:
            raise EngineError(f"the engine sent samples {message.start_sample} to {end} after {spool.num_written}")
        if end <= spool.num_written:
            return None
        known = spool.num_written - message.start_sample
        if known:
            buffer = _without_start(buffer, known)
            message = replace(message, start_sample=spool.num_written, num_samples=message.num_samples - known)
        spool.write(buffer)
        if spool.problem and self._audio.num_kept_bytes > MAX_KEPT_BYTES:
            raise EngineError(f"nothing can be stored ({spool.problem}) and {MAX_KEPT_BYTES} bytes wait in memory")
        return Entry(message, partial(spool.read, message.start_sample, message.num_samples)), buffer

    def complete(self, made: TakeMade, then: Callable[[Take], None]) -> None:
        """Store a variation, unless it is stored already, and call ``then``. Raises EngineError on missing samples."""
        if made.variation in self._completed:
            return
        spool = self._spool(made.variation, draft=False)
        if spool.num_written != self.job.num_samples:
            raise EngineError(f"{spool.num_written} of {self.job.num_samples} samples of {made} have come")
        self._store(made, spool, then, interrupted=False)

    @property
    def is_storing(self) -> bool:
        """True while variations that are complete are on their way to the disk."""
        return bool(self._storing)

    def check_complete(self) -> None:
        """Raise EngineError unless every variation has been completed."""
        if len(self._completed) < self.job.num_variations:
            raise EngineError(f"the engine finished after {len(self._completed)} of {self.job.num_variations} takes")

    def interrupt(self) -> None:
        """Store what there is of variations that will not be completed; it gets to the disk behind the front."""
        for (variation, draft), spool in self._spools.items():
            if draft or variation in self._completed or not spool.num_written or spool.problem:
                continue
            seed = self.job.seed + variation
            made = TakeMade(variation, seed, spool.num_written, 0.0, 0.0, None, None, None)
            self._store(made, spool, lambda _: self._takes.make_room(), interrupted=True)

    def close(self, settled: Callable[[], None]) -> None:
        """Drop drafts, and audio that could not be stored; ``settled`` is called once the rest is on the disk."""
        self._settled = settled
        for (variation, draft), spool in self._spools.items():
            if draft or variation not in self._storing:
                spool.drop()
        self._tell_settled()

    def _store(self, made: TakeMade, spool: AudioSpool, then: Callable[[Take], None], *, interrupted: bool) -> None:
        """Bring a variation to the disk, behind the front, and then into the store."""

        def sealed(address: str | Exception) -> None:
            self._storing.discard(made.variation)
            take = self._takes.add(self.job, made, spool, address, interrupted=interrupted)
            if take.audio:
                self.addresses.add(take.audio)
                self.made.append(take.audio)
            if self._settled is not None:
                spool.drop()
            self._tell_settled()
            then(take)

        self._completed.add(made.variation)
        self._storing.add(made.variation)
        self._back_room.do(spool.seal, sealed)

    def _tell_settled(self) -> None:
        if self._settled is not None and not self._storing:
            self._settled()

    def _spool(self, variation: int, draft: bool) -> AudioSpool:
        key = (variation, draft)
        if key not in self._spools:
            name = f"{self._name}.{variation}{'.draft' if draft else ''}"
            self._spools[key] = self._audio.spool(name, self.job.num_samples)
        return self._spools[key]


def replay(audio: AudioStore, takes: list[TakeInfo]) -> list[Entry]:
    """Return the events that deliver stored takes again, but for the last."""
    entries = []
    for take in takes:
        total = take.made.num_samples
        for start in range(0, total, MAX_PIECE_SAMPLES):
            count = min(MAX_PIECE_SAMPLES, total - start)
            message = Audio(start, count, NUM_CHANNELS, take.made.variation)
            entries.append(Entry(message, partial(read_piece, audio.path(take.audio), total, start, count)))
        entries.append(Entry(Take(take.take_id, take.audio, take.made)))
    return entries


def _without_start(planar: bytes, num_samples: int) -> bytes:
    half, cut = len(planar) // NUM_CHANNELS, num_samples * BYTES_PER_SAMPLE
    return planar[cut:half] + planar[half + cut :]
