"""Read a TensorFlow 1 checkpoint without TensorFlow: its index table and the floats beside it. Knows no network.

The index is a sorted string table: blocks of (shared, unshared, value length, key rest, value), a footer that names the
block of blocks. Each value is a small protocol buffer: 1 type, 2 shape, 4 offset, 5 size. Shapes: as stored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
FLOAT = 1
UNCOMPRESSED = 0


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """Return every float tensor of a checkpoint saved under an empty name in ``folder``, by its variable's name.

    Raises ValueError when the index is no such table or is compressed.
    """
    index = (folder / ".index").read_bytes()
    data = np.fromfile(folder / ".data-00000-of-00001", dtype=np.uint8)
    tensors = {}
    for key, value in table(index):
        entry = dict(fields(value))
        if key and entry.get(1) == FLOAT:
            start, size = _number(entry.get(4, 0)), _number(entry.get(5, 0))
            floats = data[start : start + size].view("<f4").copy()
            tensors[key.decode()] = torch.from_numpy(floats).view(shape(entry.get(2, b"")))
    return tensors


def table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a sorted string table."""
    footer = content[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("not a TensorFlow checkpoint index")
    _, place = _handle(footer, 0)
    (index_start, index_size), _ = _handle(footer, place)
    for _, handle in block(content, index_start, index_size):
        (start, size), _ = _handle(handle, 0)
        yield from block(content, start, size)


def block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of one block; each key repeats the head of the one before it."""
    if content[start + size] != UNCOMPRESSED:
        raise ValueError("the checkpoint's index is compressed")
    body = content[start : start + size]
    num_restarts = struct.unpack("<I", body[-4:])[0]
    end = size - 4 - 4 * num_restarts
    place, key = 0, b""
    while place < end:
        shared, place = _varint(body, place)
        unshared, place = _varint(body, place)
        length, place = _varint(body, place)
        key = key[:shared] + body[place : place + unshared]
        place += unshared
        yield key, body[place : place + length]
        place += length


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of a protocol buffer's fields; fixed ones as bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        if tag & 7 == 0:
            value, place = _varint(message, place)
        else:
            length, place = _varint(message, place) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], place)
            value = message[place : place + length]
            place += length
        yield tag >> 3, value


def shape(message: int | bytes) -> list[int]:
    """Return the sizes in a shape message: repeated field 2, each with the size in field 1."""
    assert isinstance(message, bytes)
    sizes = (dict(fields(value)) for number, value in fields(message) if number == 2 and isinstance(value, bytes))
    return [_number(size.get(1, 0)) for size in sizes]


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    start, place = _varint(content, place)
    size, place = _varint(content, place)
    return (start, size), place


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
