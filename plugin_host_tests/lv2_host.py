"""A small LV2 host on lilv, the library of Ardour and jalv: blocks, transport, parameters, state. Knows no daemon."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_size_t,
    c_uint32,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np

from plugin_host_tests.own_host import Samples

ATOM, TIME, PATCH = (f"http://lv2plug.in/ns/ext/{name}#" for name in ("atom", "time", "patch"))
BUF_SIZE, STATE = (f"http://lv2plug.in/ns/ext/{name}#" for name in ("buf-size", "state"))
MAX_BLOCK_SAMPLES = 8192
SEQUENCE_BYTES = 8696
AUDIO_IN, AUDIO_OUT, EVENTS_IN, EVENTS_OUT, LATENCY, FREE_WHEELING, ENABLED = (0, 1), (2, 3), 4, 5, 6, 7, 8


class Feature(Structure):
    _fields_ = (("uri", c_char_p), ("data", c_void_p))


class UridMap(Structure):
    _fields_ = (("handle", c_void_p), ("map", c_void_p))


class Option(Structure):
    _fields_ = (
        ("context", c_int),
        ("subject", c_uint32),
        ("key", c_uint32),
        ("size", c_uint32),
        ("type", c_uint32),
        ("value", c_void_p),
    )


class Descriptor(Structure):
    """LV2_Descriptor: what lilv calls by inline functions, which a library does not hold."""

    _fields_ = (
        ("uri", c_char_p),
        ("instantiate", c_void_p),
        ("connect_port", CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)),
        ("activate", CFUNCTYPE(None, c_void_p)),
        ("run", CFUNCTYPE(None, c_void_p, c_uint32)),
        ("deactivate", CFUNCTYPE(None, c_void_p)),
        ("cleanup", c_void_p),
        ("extension_data", CFUNCTYPE(c_void_p, c_char_p)),
    )


class Instance(Structure):
    _fields_ = (("descriptor", POINTER(Descriptor)), ("handle", c_void_p))


STORE = CFUNCTYPE(c_int, c_void_p, c_uint32, c_void_p, c_size_t, c_uint32, c_uint32)
RETRIEVE = CFUNCTYPE(c_void_p, c_void_p, c_uint32, POINTER(c_size_t), POINTER(c_uint32), POINTER(c_uint32))
MAP = CFUNCTYPE(c_uint32, c_void_p, c_char_p)


class StateInterface(Structure):
    _fields_ = (
        ("save", CFUNCTYPE(c_int, c_void_p, STORE, c_void_p, c_uint32, c_void_p)),
        ("restore", CFUNCTYPE(c_int, c_void_p, RETRIEVE, c_void_p, c_uint32, c_void_p)),
    )


def lilv() -> ctypes.CDLL:
    library = ctypes.CDLL("liblilv-0.so.0")
    for name in (
        "world_new",
        "new_uri",
        "new_file_uri",
        "world_get_all_plugins",
        "plugins_get_by_uri",
        "plugin_instantiate",
    ):
        getattr(library, f"lilv_{name}").restype = c_void_p
    return library


class Lv2Plugin:
    """One instance of a bundle's plugin."""

    def __init__(self, bundle: Path, uri: str, rate: int) -> None:
        self._uri, self._urids = uri, {"": 0}
        self._lilv = lilv()
        self._world = c_void_p(self._lilv.lilv_world_new())
        where = c_void_p(self._lilv.lilv_new_file_uri(self._world, None, f"{bundle}/".encode()))
        self._lilv.lilv_world_load_bundle(self._world, where)
        plugins = c_void_p(self._lilv.lilv_world_get_all_plugins(self._world))
        node = c_void_p(self._lilv.lilv_new_uri(self._world, uri.encode()))
        plugin = c_void_p(self._lilv.lilv_plugins_get_by_uri(plugins, node))
        assert plugin, f"lilv finds no {uri} in {bundle}"
        self._kept = list(self._features())
        array = (POINTER(Feature) * (len(self._kept) + 1))(*(ctypes.pointer(feature) for feature in self._kept))
        made = self._lilv.lilv_plugin_instantiate(plugin, c_double(rate), array)
        assert made, "the plugin could not be instantiated"
        self._pointer = c_void_p(made)
        instance = ctypes.cast(self._pointer, POINTER(Instance)).contents
        self._plugin, self._handle = instance.descriptor.contents, c_void_p(instance.handle)
        self._audio = np.zeros((4, MAX_BLOCK_SAMPLES), np.float32)
        self._events = ctypes.create_string_buffer(SEQUENCE_BYTES), ctypes.create_string_buffer(SEQUENCE_BYTES)
        self.latency, self.free_wheeling, self.enabled = c_float(-1), c_float(0), c_float(1)
        for port, row in zip((*AUDIO_IN, *AUDIO_OUT), self._audio, strict=True):
            self._plugin.connect_port(self._handle, port, row.ctypes.data)
        for port, events in zip((EVENTS_IN, EVENTS_OUT), self._events, strict=True):
            self._plugin.connect_port(self._handle, port, ctypes.addressof(events))
        for port, value in ((LATENCY, self.latency), (FREE_WHEELING, self.free_wheeling), (ENABLED, self.enabled)):
            self._plugin.connect_port(self._handle, port, ctypes.addressof(value))
        self._plugin.activate(self._handle)

    def close(self) -> None:
        self._plugin.deactivate(self._handle)
        ctypes.CFUNCTYPE(None, c_void_p)(self._plugin.cleanup)(self._handle)

    def urid(self, uri: str) -> int:
        return self._urids.setdefault(uri, len(self._urids))

    def _features(self) -> Iterator[Feature]:
        self._map = MAP(lambda _, uri: self.urid(uri.decode()))
        self._urid_map = UridMap(None, ctypes.cast(self._map, c_void_p))
        yield Feature(b"http://lv2plug.in/ns/ext/urid#map", ctypes.addressof(self._urid_map))
        yield Feature(f"{BUF_SIZE}boundedBlockLength".encode(), None)
        self._largest = c_int(MAX_BLOCK_SAMPLES)
        key, kind = self.urid(f"{BUF_SIZE}maxBlockLength"), self.urid(f"{ATOM}Int")
        self._options = (Option * 2)(Option(0, 0, key, 4, kind, ctypes.addressof(self._largest)))
        yield Feature(b"http://lv2plug.in/ns/ext/options#options", ctypes.addressof(self._options))

    # Atoms: size, type, body; padded to eight bytes inside objects and sequences.

    def _number(self, kind: str, value: float) -> bytes:
        letter = {"Float": "f", "Double": "d", "Int": "i", "Long": "q", "URID": "I"}[kind]
        body = struct.pack(f"<{letter}", value)
        return struct.pack("<II", len(body), self.urid(ATOM + kind)) + body

    def _event(self, kind: str, **properties: bytes) -> bytes:
        prefix = kind.partition("#")[0] + "#"
        body = struct.pack("<II", 0, self.urid(kind))
        for name, atom in properties.items():
            body += struct.pack("<II", self.urid(prefix + name), 0) + atom + b"\0" * (-len(atom) % 8)
        whole = struct.pack("<qII", 0, len(body), self.urid(f"{ATOM}Object")) + body
        return whole + b"\0" * (-len(whole) % 8)

    def parameter(self, name: str, value: float) -> bytes:
        """An event that sets a parameter, for `block`."""
        which = self._number("URID", self.urid(f"{self._uri}:{name}"))
        return self._event(f"{PATCH}Set", property=which, value=self._number("Float", value))

    def position(self, ppq: float, bpm: float, speed: float, numerator: int = 4, denominator: int = 4) -> bytes:
        """An event that tells the transport, for `block`."""
        return self._event(
            f"{TIME}Position",
            beat=self._number("Double", ppq),
            beatsPerMinute=self._number("Float", bpm),
            speed=self._number("Float", speed),
            beatsPerBar=self._number("Float", numerator),
            beatUnit=self._number("Int", denominator),
        )

    def block(self, given: Samples, *events: bytes) -> Samples:
        """Process [2, n] samples with events at their start."""
        size, body = given.shape[1], struct.pack("<II", 0, 0) + b"".join(events)
        self._audio[:2, :size] = given
        head = struct.pack("<II", len(body), self.urid(f"{ATOM}Sequence"))
        ctypes.memmove(self._events[0], head + body, len(head) + len(body))
        ctypes.memmove(self._events[1], struct.pack("<II", SEQUENCE_BYTES - 8, self.urid(f"{ATOM}Chunk")), 8)
        self._plugin.run(self._handle, size)
        return np.array(self._audio[2:, :size], np.float32)

    # State: one text under one key.

    def _state_interface(self) -> Any:
        found = self._plugin.extension_data(f"{STATE}interface".encode())
        return ctypes.cast(found, POINTER(StateInterface)).contents

    def state_text(self) -> str:
        stored: dict[int, bytes] = {}

        def store(_: object, key: int, value: int, size: int, *__: int) -> int:
            stored[key] = ctypes.string_at(value, size)
            return 0

        assert self._state_interface().save(self._handle, STORE(store), None, 0, None) == 0
        return stored[self.urid(f"{self._uri}:StateString")].rstrip(b"\0").decode()

    def set_state_text(self, text: str) -> None:
        content = ctypes.create_string_buffer(text.encode())

        def retrieve(_: object, key: int, size: Any, kind: Any, flags: Any) -> int | None:
            if key != self.urid(f"{self._uri}:StateString"):
                return None
            size[0], kind[0], flags[0] = len(text) + 1, self.urid(f"{ATOM}String"), 0
            return ctypes.addressof(content)

        assert self._state_interface().restore(self._handle, RETRIEVE(retrieve), None, 0, None) == 0
