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

from sa3_daw.job import AdapterUse, Job, Region, Source, TempoPoint
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.take import BeatReport, KeyReport, TakeMade

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
    apg_scale=0.75,
    sampler="euler",
    headroom_seconds=6.0,
    source=Source("5e" * 32, 4800),
    regions=(Region(0, 4800), Region(96000, 144000)),
    noise_level=0.625,
    loop=True,
    num_variations=3,
    best_of=2,
    draft=True,
    loudness_lufs=-14.5,
    warp=True,
    adapters=(AdapterUse("dusty", 0.75, 0.25, 0.875, "to_q"),),
    priority="audible",
    durable=True,
)
LIMITS = msg.Limits((44100, 48000), 4096, 200, 30.0, 2000, 1024, 64, 1 << 20, 3600, 64, 64, 16, 1 << 20, 500, 32, 64)
MODEL = msg.ModelInfo("nano", 44100, 2116800, 12, 3.0, "euler", ("euler", "rk4"), 0.0, "fp32")
RESIDENT = msg.ResidentModel("nano", "cpu", "fp32", 27262976, "as configured")
ENGINE = msg.EngineStatus("busy", 4243, 1, 314572800, (RESIDENT,))
RUNNING = msg.JobStatus("a1", "running", 0, "nano", 361412, 48000, "sampling", 3, 8, "audible", True, 1.25)
STORE = msg.StoreStatus(12, 34603008, 20971520000)
STAGES = msg.StageTimes("sampling", (0.25, 1.0), (1, 2, 0), 1.75)
ENDED = msg.JobEnd("a0", "failed", "bad_output", "nano", 48000, 48000, 0.25, 1.5, {"sampling": 1.0})
MADE = TakeMade(
    variation=1,
    seed=8,
    num_samples=361412,
    peak_db=-1.5,
    rms_db=-14.25,
    loudness_lufs=-14.5,
    beats=BeatReport(127.25, -0.00390625, 0.875),
    key=KeyReport("A minor", 0.5),
    changed=(Region(0, 4800), Region(96000, 144000)),
    kept_sha256="6f" * 32,
    stretch=1.0078125,
    seam_db=0.125,
)
TAKE = msg.TakeInfo(
    "00000012-9f3a", "7a" * 32, "a1", 1795248000.5, "nano", "house drums, 127.5 BPM, Größe ∞", 48000, MADE,
    "5e" * 32, ("00000003-c41d",), True, ("drums", "keep"), False, "0.1.0",
)  # fmt: skip

MESSAGES: list[msg.Message] = [
    msg.Hello("vectors"),
    JOB,
    msg.Cancel(),
    msg.Credit(4),
    msg.PutAudio("5e" * 32, 4, 2, 2),
    msg.HasAudio("5e" * 32),
    msg.GetAudio("5e" * 32, 2, 2),
    msg.ListTakes("drums", "keep", True, 20, "00000012-9f3a"),
    msg.GetTake("00000012-9f3a"),
    msg.ChangeTake("00000012-9f3a", True, ("keep",), ("old",)),
    msg.DeleteTake("00000012-9f3a"),
    msg.CollectGarbage(512),
    msg.LoadModel("nano", 600.0),
    msg.UnloadModel("nano"),
    msg.Status(),
    msg.Shutdown(),
    msg.HelloReply(
        1,
        "0.1.0",
        4242,
        tuple(msg.REQUESTS),
        (MODEL,),
        LIMITS,
        (msg.AdapterInfo("dusty", "small-music", "dora-rows"),),
        "cpu",
        "w8a8",
        True,
    ),
    msg.Accepted(2, "nano", 8, 3.5, 1.25, 0.75, "euler", 6.0, True, False, JOB.prompt),
    msg.Progress("sampling", 3, 8),
    msg.Audio(4096, 2, 2, 1, True),
    msg.Take("00000012-9f3a", "7a" * 32, MADE),
    msg.Finished(361412, -1.5, -14.25, {"conditioning": 0.03125, "sampling": 0.5, "decoding": 0.125}),
    msg.Failed("invalid_field", "num_samples is 0; allowed: 1 to 96000", "num_samples", "0", "1 to 96000"),
    msg.Cancelled(),
    msg.Rejected("protocol_mismatch", "the other side speaks protocol version 9, this side version 1", "v", "9", "1"),
    msg.CancelReply(True),
    msg.PutAudioReply("5e" * 32, 4, True),
    msg.HasAudioReply(True, 4),
    msg.GetAudioReply("5e" * 32, 2, 2, 4, 2),
    msg.ListTakesReply((TAKE,)),
    msg.GetTakeReply(TAKE, JOB),
    msg.ChangeTakeReply(TAKE),
    msg.DeleteTakeReply(True),
    msg.CollectGarbageReply(3, 12582912),
    msg.LoadModelReply((RESIDENT,)),
    msg.UnloadModelReply(()),
    msg.StatusReply(4242, 12.5, 3, 1, 2, ENGINE, (RUNNING,), 41943040, STORE, (STAGES,), (ENDED,)),
    msg.ShutdownReply(),
    msg.Alive(),
    msg.Ready(4243),
    msg.Made(MADE),
    msg.Residency((RESIDENT,)),
    msg.Expect(JOB),
    msg.LatentsWritten(131104),
]
SOUND = struct.pack("<4f", 0.0, 1.0, -0.5, -0.25)
BUFFERS: dict[type, bytes] = {msg.Audio: SOUND, msg.PutAudio: SOUND, msg.GetAudioReply: SOUND}
JOB_EVENTS = Job | msg.Cancel | msg.Audio | msg.Take | msg.Finished | msg.Progress | msg.Made


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
        job = "a1" if isinstance(message, JOB_EVENTS) else ""
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
