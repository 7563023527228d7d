"""What may enter: strict reading of clients' frames, and every limit a job is held to. Knows no socket and no queue."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from sa3_daw.catalogue import find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.errors import InvalidField, LimitExceeded, RequestError, invalid, shorten
from sa3_daw.job import Job
from sa3_daw.models.specs import ModelSpec
from sa3_daw.music.timeline import MAX_POINTS, check_points
from sa3_daw.protocol.framing import check_version
from sa3_daw.protocol.messages import REQUESTS, Credit, Header, Limits, Message

SAMPLE_RATES = (22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
MAX_PROMPT_BYTES = 4096
MAX_STEPS = 200
MAX_GUIDANCE_SCALE = 30.0
MAX_SEED = 2**63
MAX_START_SAMPLE = 2**53
MAX_CREDIT = 64
"""Chunks of one job on their way to a client: about a minute of audio, 23 MB at 48 kHz."""
MAX_BODY_BYTES = 1 << 20
MAX_FRAME_BYTES = 8 << 20
"""Larger frames end the connection inside ZeroMQ; up to here the sender gets an answer that says what is wrong."""
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
JOB_ID_WORDS = "1 to 64 of A-Z a-z 0-9 _ -"

_HEADER = msgspec.msgpack.Decoder(Header)
_BODIES: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(message) for kind, message in REQUESTS.items()
}
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key` in `)?\$\.?(?P<path>.*?)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>\w+)`")


def limits(config: DaemonConfig) -> Limits:
    """Return the limits that hello announces."""
    return Limits(
        sample_rates=SAMPLE_RATES,
        max_prompt_bytes=MAX_PROMPT_BYTES,
        max_steps=MAX_STEPS,
        max_guidance_scale=MAX_GUIDANCE_SCALE,
        max_tempo_points=MAX_POINTS,
        max_queued_jobs=config.max_queued_jobs,
        max_credit=MAX_CREDIT,
        max_body_bytes=MAX_BODY_BYTES,
    )


def read_header(frames: Sequence[bytes]) -> Header:
    """Read the header frame as it is, so that even a refusal can repeat it. Raises RequestError subclasses."""
    if len(frames) < 3:
        raise RequestError(f"a message has at least 3 frames (kind, header, body), this one {len(frames)}")
    if len(frames[1]) > MAX_PROMPT_BYTES:
        raise too_large("header", len(frames[1]), MAX_PROMPT_BYTES, "bytes")
    header: Header = _decode(_HEADER, frames[1], "header")
    return header


def read_request(frames: Sequence[bytes], header: Header) -> Message:
    """Check the header's values and read the body. Raises RequestError subclasses."""
    check_version(header.v)
    if header.job and not JOB_ID.fullmatch(header.job):
        raise invalid("job", header.job, JOB_ID_WORDS)
    if header.credit < 0:
        raise invalid("credit", header.credit, "0 or more")
    kind = frames[0][:40].decode("ascii", "replace")
    if kind not in _BODIES:
        raise invalid("kind", kind, ", ".join(_BODIES))
    if len(frames[2]) > MAX_BODY_BYTES:
        raise too_large("body", len(frames[2]), MAX_BODY_BYTES, "bytes")
    message: Message = _decode(_BODIES[kind], frames[2], "body")
    if isinstance(message, Credit) and message.num_chunks < 1:
        raise invalid("num_chunks", message.num_chunks, "1 or more")
    if isinstance(message, Job) and message.job_id != header.job:
        raise invalid("job_id", message.job_id, f"the header's job, {header.job!r}, of {JOB_ID_WORDS}")
    return message


def admit(job: Job, config: DaemonConfig) -> Job:
    """Return the job with the model's defaults written in. Raises RequestError subclasses naming field and limit."""
    if not JOB_ID.fullmatch(job.job_id):
        raise invalid("job_id", job.job_id, JOB_ID_WORDS)
    for field, text in (("prompt", job.prompt), ("negative_prompt", job.negative_prompt)):
        num_bytes = len(text.encode("utf-8"))
        if num_bytes > MAX_PROMPT_BYTES:
            raise too_large(field, num_bytes, MAX_PROMPT_BYTES, "UTF-8 bytes")
    if not 0 <= job.seed < MAX_SEED:
        raise invalid("seed", job.seed, "0 to 2**63 - 1")
    if not 0 <= job.start_sample <= MAX_START_SAMPLE:
        raise invalid("start_sample", job.start_sample, f"0 to {MAX_START_SAMPLE}")
    if job.sample_rate not in SAMPLE_RATES:
        raise invalid("sample_rate", job.sample_rate, ", ".join(map(str, SAMPLE_RATES)))
    if job.steps and not 1 <= job.steps <= MAX_STEPS:
        raise invalid("steps", job.steps, f"1 to {MAX_STEPS}, or 0 for the model's default")
    scale = job.guidance_scale
    if not (math.isfinite(scale) and 0 <= scale <= MAX_GUIDANCE_SCALE):
        allowed = f"above 0, at most {MAX_GUIDANCE_SCALE:g}, or 0 for the model's default"
        raise invalid("guidance_scale", scale, allowed)
    check_points(job.tempo_map)
    spec = find_model(job.model, config).spec
    check_length(job, spec)
    return replace(job, steps=job.steps or spec.default_steps, guidance_scale=scale or spec.default_guidance_scale)


def check_length(job: Job, spec: ModelSpec) -> None:
    """Raise LimitExceeded or InvalidField unless the model can make that many samples at the job's rate."""
    longest = spec.max_num_samples * job.sample_rate // spec.sample_rate
    allowed = f"1 to {longest} at {job.sample_rate} Hz ({longest / job.sample_rate:.1f} s, model {spec.name})"
    if job.num_samples < 1:
        raise invalid("num_samples", job.num_samples, allowed)
    if job.num_samples > longest:
        raise LimitExceeded(
            f"num_samples is {job.num_samples}; allowed: {allowed}",
            field="num_samples",
            value=str(job.num_samples),
            allowed=allowed,
        )


def too_large(field: str, size: int, limit: int, unit: str) -> LimitExceeded:
    """Return the error for a text or frame that is too long."""
    return LimitExceeded(
        f"{field} has {size} {unit}; allowed: at most {limit}",
        field=field,
        value=f"{size} {unit}",
        allowed=f"at most {limit}",
    )


def _decode(decoder: msgspec.msgpack.Decoder[Any], frame: bytes, what: str) -> Any:
    try:
        return decoder.decode(frame)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), frame, what) from error
    except UnicodeDecodeError as error:
        raise InvalidField(
            f"a text in the {what} is not UTF-8: {error.reason}",
            field=what,
            value=shorten(error.object),
            allowed="UTF-8",
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the {what} frame is not a msgpack map: {error}", field=what) from error


def _field_error(text: str, frame: bytes, what: str) -> InvalidField:
    """Turn msgspec's sentence into our error with the field's path, and its value where one is there."""
    match = _PATH.match(text)
    assert match
    expectation, path = match["what"], match["path"] or ""
    missing = _MISSING.search(expectation)
    if missing:
        field = f"{path}.{missing['name']}" if path else missing["name"]
        return InvalidField(f"{field} is missing", field=field, allowed="it is required")
    field = path or what
    shown = shorten(_value_at(frame, path))
    return InvalidField(f"{field} is {shown}: {expectation}", field=field, value=shown, allowed=expectation)


def _value_at(frame: bytes, path: str) -> object:
    """Return the value that ``path`` (such as ``tempo_map[3].bpm``) leads to in a frame."""
    try:
        value = msgspec.msgpack.decode(frame)
        for name, index in re.findall(r"(\w+)|\[(\d+)\]", path):
            value = value[name] if name else value[int(index)]
    except (LookupError, TypeError, ValueError, RecursionError):
        return "unknown"
    return value
