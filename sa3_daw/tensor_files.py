"""The header of a safetensors file, checked before anything is read or allocated. Knows no tensor library, no model.

What it lets through is whole and safe to map: every tensor lies inside the file, has the size its shape and type
say, and none overlaps another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sa3_daw.errors import CheckpointMismatch, CheckpointMissing, shorten

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip

READ_BYTES = 1 << 20
LENGTH_BYTES = 8
FOREIGN_BYTES = 32
LARGEST_HEADER_BYTES = 16 << 20
"""The published files need 0.13 MB."""

FOREIGN = (
    (b"\x80", "is a pickle, which could run any program and is never opened; get the .safetensors file"),
    (b"PK\x03\x04", "is a pickle or zip file, which is never opened; get the .safetensors file"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file it points to; run: git lfs pull"),
    (b"<", "is a web page, not a model; the download went wrong"),
)
"""First bytes that name another kind of file. As a length, each would be far beyond LARGEST_HEADER_BYTES."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: type as the format names it, shape, and its half-open byte range in the file."""

    dtype: str
    shape: tuple[int, ...]
    start_byte: int
    end_byte: int


@dataclass(frozen=True)
class TensorFile:
    """A file whose header was found sound."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    num_bytes: int

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read and check the header. Raises CheckpointMissing or CheckpointMismatch, naming the file and the fault."""
        try:
            num_bytes = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(FOREIGN_BYTES)
                header_bytes = _header_bytes(path, start, num_bytes)
                file.seek(LENGTH_BYTES)
                header = _parsed(path, file.read(header_bytes))
        except FileNotFoundError as error:
            raise CheckpointMissing(f"{path} does not exist", value=str(path)) from error
        except OSError as error:
            raise CheckpointMismatch(f"{path} cannot be read: {error.strerror}", value=str(path)) from error
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise _fault(path, "its metadata is not text")
        first_byte = LENGTH_BYTES + header_bytes
        tensors = {key: _tensor_info(path, key, entry, first_byte) for key, entry in header.items()}
        _check_layout(path, tensors, first_byte, num_bytes)
        return cls(path, tensors, metadata, num_bytes)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _header_bytes(path: Path, start: bytes, num_bytes: int) -> int:
    for mark, what in FOREIGN:
        if start.startswith(mark):
            length = int.from_bytes(start[:LENGTH_BYTES], "little")
            if length > LARGEST_HEADER_BYTES:
                raise CheckpointMismatch(f"{path} {what}", value=str(path))
    if num_bytes < LENGTH_BYTES:
        raise _fault(path, f"it holds only {num_bytes} bytes")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > LARGEST_HEADER_BYTES:
        raise _fault(path, f"its header would be {length} bytes long; allowed: {LARGEST_HEADER_BYTES}")
    if LENGTH_BYTES + length > num_bytes:
        raise _truncated(path, num_bytes, LENGTH_BYTES + length)
    return length


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"its header is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise _fault(path, "its header is not a table")
    return parsed


def _tensor_info(path: Path, key: str, entry: object, first_byte: int) -> TensorInfo:
    try:
        assert isinstance(entry, dict)
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        num_bytes = DTYPE_BYTES[dtype] * prod(shape)
        whole = all(type(count) is int and count >= 0 for count in (*shape, start, end))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise _fault(path, f"its entry for {shorten(key)} cannot be understood") from error
    if not whole or end - start != num_bytes:
        raise _fault(path, f"its entry for {shorten(key)} gives a size that does not fit its shape")
    return TensorInfo(dtype, shape, first_byte + start, first_byte + end)


def _check_layout(path: Path, tensors: Mapping[str, TensorInfo], first_byte: int, num_bytes: int) -> None:
    """Tensors must follow one another without gap or overlap and end with the file."""
    position = first_byte
    for key, info in sorted(tensors.items(), key=lambda item: (item[1].start_byte, item[1].end_byte)):
        if info.start_byte != position:
            raise _fault(path, f"the bytes of {shorten(key)} overlap others or leave a gap")
        position = info.end_byte
    if position > num_bytes:
        raise _truncated(path, num_bytes, position)
    if position < num_bytes:
        raise _fault(path, f"{num_bytes - position} bytes follow its last tensor")


def _truncated(path: Path, num_bytes: int, wanted_bytes: int) -> CheckpointMismatch:
    return CheckpointMismatch(
        f"{path} is incomplete: {num_bytes:,} of {wanted_bytes:,} bytes; its download was cut off", value=str(path)
    )


def _fault(path: Path, what: str) -> CheckpointMismatch:
    return CheckpointMismatch(f"{path} is not a readable safetensors file: {what}", value=str(path))
