"""Stored audio by content address: uploads arrive piece by piece, finished files are read. Knows no take and no job.

Only files below ``data_dir/audio`` and ``data_dir/incoming`` are opened, under names made here from checked hashes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic
from weakref import WeakSet

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS, audio_path
from sa3_daw.daemon.back_room import BackRoom
from sa3_daw.daemon.client_sockets import Address
from sa3_daw.daemon.job_checks import ADDRESS, ADDRESS_WORDS
from sa3_daw.daemon.limits import MAX_AUDIO_SAMPLES, MAX_PIECE_SAMPLES, MAX_UPLOADS
from sa3_daw.daemon.spool import AudioSpool, read_piece, spool_path
from sa3_daw.errors import LimitExceeded, RequestError, invalid
from sa3_daw.protocol.messages import GetAudio, GetAudioReply, HasAudioReply, PutAudio, PutAudioReply

log = logging.getLogger(__name__)

UPLOAD_PATIENCE_SECONDS = 60.0
"""An upload whose next piece takes longer is dropped when room is needed."""
SPARE_DISK_BYTES = 64 << 20


@dataclass
class Upload:
    """One source on its way in."""

    spool: AudioSpool
    touched: float


class AudioStore:
    """Audio files of one data folder."""

    def __init__(self, data_dir: Path, back_room: BackRoom) -> None:
        self._data_dir = data_dir
        self._incoming = data_dir / "incoming"
        self._back_room = back_room
        self._uploads: dict[tuple[Address, str], Upload] = {}
        self._sealing: list[Address] = []
        self._left: dict[str, list[Path]] = {}
        self._spools: WeakSet[AudioSpool] = WeakSet()
        self.num_bytes = 0
        """What finished audio uses on disk, as far as it was seen."""

    def open(self) -> None:
        """Look what an earlier daemon left half done, to be had until ``drop_left``, and measure the rest."""
        for path in _files_in(self._incoming):
            self._left.setdefault(path.name.rsplit(".", 3)[0], []).append(path)
        self.num_bytes = sum(size for _, size, _ in self.files())

    def files(self) -> Iterator[tuple[str, int, float]]:
        """Yield address, bytes and time of last change of every stored audio."""
        for entry in _entries(self._data_dir / "audio"):
            yield entry.name.partition(".")[0], entry.stat().st_size, entry.stat().st_mtime

    def num_samples(self, audio: str) -> int:
        """Return the length of stored audio; 0 when it is not stored. Raises InvalidField on what is no address."""
        if not ADDRESS.fullmatch(audio):
            raise invalid("audio", audio, ADDRESS_WORDS)
        path = self.path(audio)
        return path.stat().st_size // BYTES_PER_FRAME if path.is_file() else 0

    def path(self, audio: str) -> Path:
        """Return the file of an address that was checked."""
        return audio_path(self._data_dir, audio)

    def has(self, audio: str) -> HasAudioReply:
        """Answer ``has_audio``."""
        num_samples = self.num_samples(audio)
        return HasAudioReply(num_samples > 0, num_samples)

    def get(self, request: GetAudio) -> tuple[GetAudioReply, bytes]:
        """Answer ``get_audio``."""
        total = self.num_samples(request.audio)
        if not total:
            raise invalid("audio", request.audio, "the address of stored audio")
        if not 0 <= request.start_sample < total:
            raise invalid("start_sample", request.start_sample, f"0 to {total - 1}")
        if not 1 <= request.num_samples <= MAX_PIECE_SAMPLES:
            raise invalid("num_samples", request.num_samples, f"1 to {MAX_PIECE_SAMPLES}")
        count = min(request.num_samples, total - request.start_sample)
        planar = read_piece(self.path(request.audio), total, request.start_sample, count)
        return GetAudioReply(request.audio, request.start_sample, count, total, NUM_CHANNELS), planar

    def put(
        self,
        client: Address,
        request: PutAudio,
        buffers: tuple[bytes, ...],
        make_room_for: Callable[[int], None],
        answer: Callable[[PutAudioReply | RequestError], None],
    ) -> None:
        """Take one piece of an upload. Raises RequestError subclasses; a bad piece ends its upload.

        ``make_room_for`` is called with the bytes of an upload that begins, and raises when they are too many.
        ``answer`` is called at once, after the last piece when all of it is on the disk.
        """
        stored = self.num_samples(request.audio)
        key = (client, request.audio)
        if stored:
            self._drop(key)
            answer(PutAudioReply(request.audio, stored, True))
            return
        try:
            self._check_piece(request, buffers)
            if key not in self._uploads:
                make_room_for(request.num_samples * BYTES_PER_FRAME)
            upload = self._uploads.get(key) or self._begin(key, request.num_samples)
            self._take_piece(upload, request, buffers[0])
        except RequestError:
            self._drop(key)
            raise
        spool = upload.spool
        if spool.num_written < spool.num_samples:
            answer(PutAudioReply(request.audio, spool.num_written, False))
        else:
            del self._uploads[key]
            self._sealing.append(client)

            def sealed(result: str | Exception) -> None:
                self._sealing.remove(client)
                answer(self._uploaded(spool, request.audio, result))

            self._back_room.do(spool.seal, sealed)

    def spool(self, name: str, num_samples: int) -> AudioSpool:
        """Return a spool in a file of its own, even while an earlier one of that name, which is ours, is sealed."""
        spool = AudioSpool(spool_path(self._incoming, name, num_samples), num_samples)
        self._spools.add(spool)
        return spool

    @property
    def num_kept_bytes(self) -> int:
        """Memory that holds audio which the disk did not take."""
        return sum(spool.num_kept_bytes for spool in self._spools)

    def take_left(self, name: str) -> AudioSpool | None:
        """Return the spool of that name that an earlier daemon left, the fullest of several."""
        spools = []
        for path in self._left.get(name, ()):
            with suppress(OSError, ValueError):
                spools.append((AudioSpool.left_behind(path), path))
        if not spools:
            return None
        spool, path = max(spools, key=lambda each: each[0].num_written)
        self._left[name].remove(path)
        return spool

    def drop_left(self) -> None:
        """Clear away what nobody took of what an earlier daemon left."""
        for path in chain.from_iterable(self._left.values()):
            with suppress(OSError):
                path.unlink()
        self._left.clear()

    def keep(self, spool: AudioSpool, address: str) -> None:
        """Store a sealed spool under its address. Raises OSError."""
        path = self.path(address)
        known = path.is_file()
        spool.move_to(path)
        self.num_bytes += 0 if known else spool.num_samples * BYTES_PER_FRAME

    def remove(self, audio: str) -> int:
        """Delete audio; return the bytes freed."""
        path = self.path(audio)
        try:
            freed = path.stat().st_size
            path.unlink()
        except OSError as error:
            log.warning("%s is not deleted: %s", path, error)
            return 0
        self.num_bytes = max(0, self.num_bytes - freed)
        return freed

    def clients_sending(self) -> set[Address]:
        """Return the clients with an upload under way."""
        return {client for client, _ in self._uploads} | set(self._sealing)

    def client_gone(self, client: Address) -> None:
        """Drop a client's uploads."""
        for key in [key for key in self._uploads if key[0] == client]:
            self._drop(key)

    def _check_piece(self, request: PutAudio, buffers: tuple[bytes, ...]) -> None:
        if not 1 <= request.num_samples <= MAX_AUDIO_SAMPLES:
            raise invalid("num_samples", request.num_samples, f"1 to {MAX_AUDIO_SAMPLES}")
        if not 1 <= request.chunk_num_samples <= MAX_PIECE_SAMPLES:
            raise invalid("chunk_num_samples", request.chunk_num_samples, f"1 to {MAX_PIECE_SAMPLES}")
        sizes = [len(buffer) for buffer in buffers]
        if sizes != [request.chunk_num_samples * BYTES_PER_FRAME]:
            expected = f"one buffer of {request.chunk_num_samples * BYTES_PER_FRAME} bytes"
            raise invalid("chunk_num_samples", f"{len(sizes)} buffers of {sizes[:4]} bytes", expected)

    def _begin(self, key: tuple[Address, str], num_samples: int) -> Upload:
        """Start an upload, if there is room for it."""
        now = monotonic()
        for old in [old for old, upload in self._uploads.items() if now - upload.touched > UPLOAD_PATIENCE_SECONDS]:
            self._drop(old)
        if len(self._uploads) + len(self._sealing) >= MAX_UPLOADS:
            allowed = f"at most {MAX_UPLOADS} uploads at one time"
            raise LimitExceeded(f"too many uploads; {allowed}", field="audio", value=key[1], allowed=allowed)
        self._check_disk(num_samples * BYTES_PER_FRAME)
        upload = Upload(self.spool("upload", num_samples), now)
        self._uploads[key] = upload
        return upload

    def _uploaded(self, spool: AudioSpool, expected: str, sealed: str | Exception) -> PutAudioReply | RequestError:
        """Store a whole upload and return what its sender is told."""
        try:
            if isinstance(sealed, Exception):
                return storage_error(str(sealed))
            if sealed != expected:
                return invalid("audio", expected, f"the SHA-256 of what was sent, {sealed}")
            self.keep(spool, sealed)
        except OSError as error:
            return storage_error(str(error))
        finally:
            spool.drop()
        return PutAudioReply(expected, spool.num_samples, True)

    def _take_piece(self, upload: Upload, request: PutAudio, planar: bytes) -> None:
        spool = upload.spool
        upload.touched = monotonic()
        if request.num_samples != spool.num_samples:
            raise invalid("num_samples", request.num_samples, f"{spool.num_samples}, as in the pieces before")
        if request.start_sample != spool.num_written:
            raise invalid("start_sample", request.start_sample, f"{spool.num_written}, where the piece before ended")
        if spool.num_written + request.chunk_num_samples > spool.num_samples:
            raise invalid(
                "chunk_num_samples", request.chunk_num_samples, f"{spool.num_samples - spool.num_written} left"
            )
        spool.write(planar)
        if spool.problem:
            raise storage_error(spool.problem)

    def _check_disk(self, num_bytes: int) -> None:
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._data_dir).free
        except OSError as error:
            raise storage_error(str(error)) from error
        if free < num_bytes + SPARE_DISK_BYTES:
            allowed = f"at most {max(0, free - SPARE_DISK_BYTES)} bytes, the disk's free space"
            raise LimitExceeded(
                f"audio of {num_bytes} bytes does not fit; {allowed}",
                field="num_samples",
                value=f"{num_bytes} bytes",
                allowed=allowed,
            )

    def _drop(self, key: tuple[Address, str]) -> None:
        upload = self._uploads.pop(key, None)
        if upload is not None:
            upload.spool.drop()


def storage_error(reason: str) -> RequestError:
    """Return the error for a data folder that takes nothing."""
    return RequestError(f"nothing can be stored: {reason}", field="data_dir", allowed="a folder that can be written to")


def _files_in(directory: Path) -> list[Path]:
    with suppress(OSError):
        return list(directory.iterdir())
    return []


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the finished files two levels down."""
    try:
        parents = [entry for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        for parent in parents:
            yield from (entry for entry in os.scandir(parent) if not entry.name.endswith(".part"))
    except OSError:
        return
