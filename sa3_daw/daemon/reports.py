"""What the daemon says of itself: the answers to hello and status. Knows no socket."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from sa3_daw import __version__
from sa3_daw.adapter_files import list_adapters
from sa3_daw.catalogue import list_models
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.limits import limits
from sa3_daw.protocol.messages import (
    REQUESTS,
    AdapterInfo,
    HelloReply,
    ModelInfo,
    ResidentModel,
    StatusReply,
)
from sa3_daw.protocol.version import PROTOCOL_VERSION

if TYPE_CHECKING:
    from sa3_daw.daemon.engine_room import EngineRoom
    from sa3_daw.daemon.jobs import Jobs


def hello_reply(config: DaemonConfig, resident: tuple[ResidentModel, ...]) -> HelloReply:
    """Return the daemon's version, verbs, models, adapters and limits, and how its engine computes."""
    precisions = {model.name: model.precision for model in resident}
    models = tuple(
        ModelInfo(
            name=entry.name,
            sample_rate=entry.spec.sample_rate,
            max_num_samples=entry.spec.max_num_samples,
            default_steps=entry.spec.default_steps,
            default_guidance_scale=entry.spec.default_guidance_scale,
            default_sampler=entry.spec.sampler,
            samplers=entry.spec.samplers,
            headroom_seconds=entry.spec.headroom_seconds,
            precision=precisions.get(entry.name, config.precision),
        )
        for entry in list_models(config)
    )
    found = list_adapters(config.adapters_dir)
    adapters = tuple(AdapterInfo(entry.name, entry.base_model, entry.kind) for entry in found)
    return HelloReply(
        protocol_version=PROTOCOL_VERSION,
        daemon_version=__version__,
        pid=os.getpid(),
        verbs=tuple(REQUESTS),
        models=models,
        limits=limits(config),
        adapters=adapters,
        device=config.device,
        precision=config.precision,
        is_compiled=config.compile,
    )


def status_reply(jobs: Jobs, room: EngineRoom, started_at: float) -> StatusReply:
    """Return the daemon's state at this moment."""
    num_ended = jobs.statistics.num_ended
    return StatusReply(
        pid=os.getpid(),
        uptime_seconds=round(monotonic() - started_at, 3),
        num_finished=num_ended["finished"],
        num_failed=num_ended["failed"],
        num_cancelled=num_ended["cancelled"],
        engine=room.status(resident_bytes(room.handle.pid)),
        jobs=jobs.status(),
        num_bytes=resident_bytes(os.getpid()),
        store=jobs.takes.status(),
        stages=jobs.statistics.stages(),
        ended=tuple(jobs.statistics.latest),
    )


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory; 0 where the system does not tell cheaply."""
    if sys.platform != "linux" or not pid:
        return 0
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
