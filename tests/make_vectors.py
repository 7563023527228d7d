"""Write tests/vectors: one byte-exact message of every kind. Run: python -m tests.make_vectors

A file holds the frames of one message, each after its length as a little-endian uint32. index.json says what
each file decodes to. The C++ client reads the same files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sa3_daw.job import Job, TempoPoint
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.version import PROTOCOL_VERSION

VECTORS = Path(__file__).parent / "vectors"

JOB = Job(
    job_id="a1",
    prompt="house drums, 127.5 BPM, Größe ∞",
    num_samples=361412,
    sample_rate=48000,
    seed=2**63 - 1,
    tempo_map=(TempoPoint(0.0, 127.5), TempoPoint(14.5, 90.25, 7, 8)),
    start_sample=96000,
    negative_prompt="vocals",
    steps=8,
    guidance_scale=3.5,
)
LIMITS = msg.Limits((44100, 48000), 4096, 200, 30.0, 2000, 256, 64, 1 << 20)
ENGINE = msg.EngineStatus("busy", 4243, 1)
RUNNING = msg.JobStatus("a1", "running", 0, "nano", 361412, 48000, "sampling", 3, 8)

MESSAGES: list[msg.Message] = [
    msg.Hello("vectors"),
    JOB,
    msg.Cancel(),
    msg.Credit(4),
    msg.Status(),
    msg.Shutdown(),
    msg.HelloReply(1, "0.1.0", 4242, tuple(msg.REQUESTS), (msg.ModelInfo("nano", 44100, 2116800, 12, 3.0),), LIMITS),
    msg.Accepted(2, "nano", 8, 3.5, 1.25),
    msg.Progress("sampling", 3, 8),
    msg.Audio(4096, 2, 2),
    msg.Finished(361412, -1.5, -14.25, {"conditioning": 0.03125, "sampling": 0.5, "decoding": 0.125}),
    msg.Failed("invalid_field", "num_samples is 0; allowed: 1 to 96000", "num_samples", "0", "1 to 96000"),
    msg.Cancelled(),
    msg.Rejected("protocol_mismatch", "the other side speaks protocol version 9, this side version 1", "v", "9", "1"),
    msg.CancelReply(True),
    msg.StatusReply(4242, 12.5, 3, 1, 2, ENGINE, (RUNNING,)),
    msg.ShutdownReply(),
    msg.Alive(),
    msg.Ready(4243),
]
BUFFERS: dict[type, bytes] = {msg.Audio: struct.pack("<4f", 0.0, 1.0, -0.5, -0.25)}


def pack(frames: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def unpack(content: bytes) -> list[bytes]:
    frames, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<I", content, position)
        frames.append(content[position + 4 : position + 4 + length])
        position += 4 + length
    return frames


def vectors() -> dict[str, tuple[bytes, dict[str, object]]]:
    """Return file name -> (content, what it holds)."""
    made: dict[str, tuple[bytes, dict[str, object]]] = {}
    for number, message in enumerate(MESSAGES):
        kind, buffer = msg.KIND_OF[type(message)], BUFFERS.get(type(message))
        job = "a1" if isinstance(message, Job | msg.Cancel | msg.Audio | msg.Finished | msg.Progress) else ""
        credit = 16 if isinstance(message, Job) else 0
        frames = encode(message, job=job, seq=number, credit=credit, buffer=buffer)
        header = {"v": PROTOCOL_VERSION, "job": job, "seq": number, "credit": credit}
        held: dict[str, object] = {
            "kind": kind,
            "header": header,
            "body": asdict(message),
            "buffers": [buffer.hex()] if buffer else [],
        }
        made[f"{kind}.bin"] = (pack(frames), held)
    return made


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    made = vectors()
    for name, (content, _) in made.items():
        (VECTORS / name).write_bytes(content)
    index = {name: held for name, (_, held) in made.items()}
    (VECTORS / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
