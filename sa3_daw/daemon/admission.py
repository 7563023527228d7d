"""What may enter: strict reading of clients' frames, and a job made complete. Knows no socket and no queue."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from sa3_daw.catalogue import find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon import job_checks
from sa3_daw.daemon.job_checks import JOB_ID, JOB_ID_WORDS, StoredLength, too_large
from sa3_daw.daemon.limits import MAX_BODY_BYTES, MAX_PROMPT_BYTES
from sa3_daw.edits import check_combination
from sa3_daw.errors import InvalidField, RequestError, invalid, shorten
from sa3_daw.job import Job
from sa3_daw.models.specs import ModelSpec
from sa3_daw.protocol.framing import check_version
from sa3_daw.protocol.messages import REQUESTS, Accepted, Credit, Header, Message

_HEADER = msgspec.msgpack.Decoder(Header)
_BODIES: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(message) for kind, message in REQUESTS.items()
}
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key` in `)?\$\.?(?P<path>.*?)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>\w+)`")


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


def admit(job: Job, config: DaemonConfig, stored_length: StoredLength, adapters: Collection[str]) -> Job:
    """Return the job with the model's defaults written in. Raises RequestError subclasses naming field and limit.

    ``stored_length`` tells what sources there are, ``adapters`` which are installed.
    """
    job_checks.check_plain_fields(job)
    spec = find_model(job.model, config).spec
    if job.sampler and job.sampler not in spec.samplers:
        raise invalid("sampler", job.sampler, ", ".join(spec.samplers))
    job_checks.check_negative_prompt(job, spec.default_guidance_scale)
    job_checks.check_length(job)
    job_checks.check_source(job, stored_length)
    check_combination(job)
    job_checks.check_adapters(job.adapters, adapters)
    return _with_defaults(job, spec)


def accepted(job: Job, config: DaemonConfig, position: int, eta_seconds: float | None) -> Accepted:
    """Return the answer to an admitted job."""
    return Accepted(
        position=position,
        model=job.model,
        steps=job.steps,
        guidance_scale=job.guidance_scale,
        eta_seconds=eta_seconds,
        apg_scale=job.apg_scale,
        sampler=job.sampler,
        headroom_seconds=job.headroom_seconds,
        chained=job_checks.is_chained(job, find_model(job.model, config).spec),
        prompt=job.prompt,
    )


def _with_defaults(job: Job, spec: ModelSpec) -> Job:
    return replace(
        job,
        prompt=spec.full_prompt(job.prompt),
        steps=job.steps or spec.default_steps,
        guidance_scale=job.guidance_scale or spec.default_guidance_scale,
        apg_scale=spec.default_apg_scale if job.apg_scale is None else job.apg_scale,
        sampler=job.sampler or spec.sampler,
        headroom_seconds=spec.headroom_seconds if job.headroom_seconds is None else job.headroom_seconds,
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
