"""WAV files a DAW keeps: float32, at their place on the timeline, with the recipe inside. Knows no job and no model.

Layout: RIFF (RF64 beyond 4 GiB), a spare chunk for the 64-bit sizes, bext (TimeReference is the start sample),
iXML (the recipe as JSON), fmt, fact, data. A file grows under its name plus ``.part`` and is renamed when
complete, so a final name never holds half a file. Sources: EBU Tech 3285 and 3306, iXML 1.61.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw.errors import invalid

RIFF_LIMIT_BYTES = 0xFFFFFFFF
"""Sizes beyond this do not fit a RIFF header; the file becomes RF64."""

MAX_METADATA_BYTES = 16 << 20
BLOCK_SAMPLES = 1 << 16
IEEE_FLOAT = 3
BYTES_PER_VALUE = 4
_UNFIT_FOR_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class WavWriter:
    """Writes one file piece by piece. As a context manager it completes the file, or removes it on an error.

    Raises OSError with the file's name when the disk is full or the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        num_channels: int,
        recipe: dict[str, Any],
        start_sample: int,
        written: datetime | None = None,
    ) -> None:
        """``start_sample`` is the clip's place on the timeline, counted at ``sample_rate``."""
        if not 0 <= start_sample < 2**63:
            raise invalid("start_sample", start_sample, "0 or more")
        check_writable(path)
        self.path = path.resolve()
        self.num_samples = 0
        self._frame_bytes = BYTES_PER_VALUE * num_channels
        self._part = self.path.with_name(self.path.name + ".part")
        self._head = _header(sample_rate, num_channels, recipe, start_sample, written or datetime.now())
        try:
            self._file: BinaryIO = self._part.open("wb")
        except OSError as error:
            raise self._named(error) from error
        self._guarded_write(self._head)

    def write(self, samples_CS: NDArray[np.float32]) -> None:
        """Append samples [C, n]; interleaved in blocks, so that no second copy of a long clip is made."""
        assert samples_CS.shape[0] * BYTES_PER_VALUE == self._frame_bytes
        for start in range(0, samples_CS.shape[1], BLOCK_SAMPLES):
            block = samples_CS[:, start : start + BLOCK_SAMPLES].T
            self._guarded_write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        self.num_samples += samples_CS.shape[1]

    def close(self) -> None:
        """Fill in the sizes, put everything on the disk and give the file its name."""
        data_bytes = self.num_samples * self._frame_bytes
        try:
            self._file.seek(0)
            self._file.write(_with_sizes(self._head, data_bytes, self.num_samples))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self.path)
        except OSError as error:
            self.abort()
            raise self._named(error) from error

    def abort(self) -> None:
        """Leave nothing behind."""
        # On a full disk closing fails too, flushing what is wanted no more; the handle is released all the same.
        with suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _guarded_write(self, payload: bytes) -> None:
        try:
            self._file.write(payload)
        except OSError as error:
            self.abort()
            raise self._named(error) from error

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self.path))


def check_writable(path: Path) -> None:
    """Find out, before anything is computed, that a file could not be written. Raises InvalidField."""
    # A finished file is renamed into place, which would put a plain file where a device or pipe was.
    if not path.name or (path.exists() and not path.is_file()):
        raise invalid("output", str(path), "a file name, not a folder or a device")
    if not path.resolve().parent.is_dir():
        raise invalid("output", str(path), "a file in a folder that exists")
    if not os.access(path.resolve().parent, os.W_OK):
        raise invalid("output", str(path), "a file in a folder that can be written")


def write_wav(
    path: Path,
    samples_CS: NDArray[np.float32],
    sample_rate: int,
    recipe: dict[str, Any],
    start_sample: int,
    written: datetime | None = None,
) -> None:
    """Write a whole clip [C, n]; ``written`` is the date inside it, None for now."""
    with WavWriter(path, sample_rate, samples_CS.shape[0], recipe, start_sample, written) as writer:
        writer.write(samples_CS)


def read_wav(path: Path) -> tuple[NDArray[np.float32], int, dict[str, Any] | None, int]:
    """Return samples [C, n] float32, rate, recipe (None when there is none) and start sample (0 when unknown).

    Reads any WAV that libsndfile reads. Raises OSError, or InvalidField for a file that is no audio.
    """
    recipe, start_sample = None, 0
    with path.open("rb") as file:
        for name, payload in _metadata_chunks(file):
            if name == b"bext" and len(payload) >= 346:
                start_sample = struct.unpack_from("<Q", payload, 338)[0]
            elif name == b"iXML":
                recipe = _recipe_in(payload)
    try:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise invalid("file", str(path), f"an audio file ({error.error_string})") from error
    return np.ascontiguousarray(samples.T), sample_rate, recipe, start_sample


def stereo(path: Path, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [2, n]; one channel is doubled. Raises InvalidField on what no clip can be."""
    if not 1 <= len(samples) <= 2:
        raise invalid("channels", len(samples), f"1 or 2 in {path}")
    if not samples.shape[1]:
        raise invalid("file", str(path), "an audio file that is not empty")
    if not np.isfinite(samples).all():
        raise invalid("file", str(path), "an audio file without NaN and infinity")
    return samples if len(samples) == 2 else np.repeat(samples, 2, axis=0)


def _header(sample_rate: int, num_channels: int, recipe: dict[str, Any], start_sample: int, written: datetime) -> bytes:
    """Return everything up to the first sample, sizes still 0."""
    frame_bytes = BYTES_PER_VALUE * num_channels
    form = struct.pack("<HHIIHHH", IEEE_FLOAT, num_channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 32, 0)
    chunks = (
        (b"JUNK", bytes(28)),
        (b"bext", _bext(recipe, sample_rate, num_channels, start_sample, written)),
        (b"iXML", _ixml(recipe, sample_rate, start_sample)),
        (b"fmt ", form),
        (b"fact", bytes(4)),
    )
    body = b"".join(name + struct.pack("<I", len(payload)) + payload for name, payload in chunks)
    return b"RIFF" + bytes(4) + b"WAVE" + body + b"data" + bytes(4)


def _with_sizes(head: bytes, data_bytes: int, num_samples: int) -> bytes:
    """Return the header with its sizes filled in: the fact value and data size are its last 4-byte words."""
    riff_bytes = len(head) - 8 + data_bytes
    if riff_bytes <= RIFF_LIMIT_BYTES:
        begin = b"RIFF" + struct.pack("<I", riff_bytes) + head[8:-12]
        return begin + struct.pack("<I", num_samples) + b"data" + struct.pack("<I", data_bytes)
    wide = struct.pack("<QQQI", riff_bytes, data_bytes, num_samples, 0)
    begin = b"RF64" + b"\xff" * 4 + b"WAVE" + b"ds64" + struct.pack("<I", len(wide)) + wide
    return begin + head[len(begin) : -12] + b"\xff" * 4 + b"data" + b"\xff" * 4


def _bext(recipe: dict[str, Any], sample_rate: int, num_channels: int, start_sample: int, written: datetime) -> bytes:
    mode = "mono" if num_channels == 1 else "stereo"
    fixed = struct.pack(
        "<256s32s32s10s8sQH64s190s",
        _ascii(_prompt(recipe), 256),
        b"sa3-daw",
        _ascii(str(recipe.get("job_id", "")), 32),
        written.strftime("%Y-%m-%d").encode(),
        written.strftime("%H:%M:%S").encode(),
        start_sample,
        1,
        b"",
        b"",
    )
    return _even(fixed + f"A=PCM,F={sample_rate},W=32,M={mode},T=sa3-daw;float\r\n".encode())


def _ixml(recipe: dict[str, Any], sample_rate: int, start_sample: int) -> bytes:
    # json's ASCII escapes keep every prompt, control characters included, legal in XML.
    note = escape(_UNFIT_FOR_XML.sub("\ufffd", _prompt(recipe)))
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<BWFXML><IXML_VERSION>1.61</IXML_VERSION><PROJECT>sa3-daw</PROJECT>'
        f"<NOTE>{note}</NOTE><SPEED><FILE_SAMPLE_RATE>{sample_rate}</FILE_SAMPLE_RATE>"
        f"<TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>{start_sample >> 32}</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>"
        f"<TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>{start_sample & 0xFFFFFFFF}</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>"
        f"<TIMESTAMP_SAMPLE_RATE>{sample_rate}</TIMESTAMP_SAMPLE_RATE></SPEED>"
        f"<USER><SA3_RECIPE>{escape(json.dumps(recipe))}</SA3_RECIPE></USER></BWFXML>\n"
    )
    return _even(text.encode("utf-8"))


def _even(payload: bytes) -> bytes:
    """Round a text's length up inside its chunk: libsndfile's RF64 reader stumbles over pad bytes."""
    return payload + b"\n" * (len(payload) % 2)


def _prompt(recipe: dict[str, Any]) -> str:
    return str(recipe.get("prompt", ""))


def _ascii(text: str, limit: int) -> bytes:
    return text.encode("ascii", "replace")[:limit]


def _recipe_in(payload: bytes) -> dict[str, Any] | None:
    """Return the recipe of an iXML chunk; other programs' iXML, or broken XML, holds none."""
    try:
        node = ElementTree.fromstring(payload.rstrip(b"\0")).find("USER/SA3_RECIPE")
        recipe = json.loads(node.text or "") if node is not None else None
    except (ElementTree.ParseError, ValueError):
        return None
    return recipe if isinstance(recipe, dict) else None


def _metadata_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bext and iXML chunks before and after the samples, skipping the rest unread."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return
    wide_data_bytes = 0
    while len(entry := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", entry)
        if name == b"data" and size == 0xFFFFFFFF:
            size = wide_data_bytes
        end = file.tell() + size + size % 2
        if name == b"ds64":
            wide_data_bytes = struct.unpack("<8xQ", file.read(16))[0]
        elif name in (b"bext", b"iXML") and size <= MAX_METADATA_BYTES:
            yield name, file.read(size)
        file.seek(end)
