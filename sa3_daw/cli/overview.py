"""`sa3-daw status` and `sa3-daw monitor`: the daemon on one screen, once or live. Knows no audio and no job's maker."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from time import sleep

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sa3_daw.client import Client, StatusReply, TakeInfo
from sa3_daw.errors import DaemonUnreachable, invalid
from sa3_daw.protocol.messages import JobEnd, JobStatus, StageTimes
from sa3_daw.protocol.metrics import prometheus_text
from sa3_daw.take import CLEAR_BEAT

NUM_TAKES, NUM_ENDED, NUM_LIVE = 5, 5, 12
NO_DAEMON = "no daemon runs; any job starts one, and so does: sa3-daw serve"


def status(arguments: argparse.Namespace) -> int:
    """Print the daemon's state; exit code 1 when none runs."""
    try:
        with Client.connect(autostart=False) as client:
            reply = client.status()
            takes = () if arguments.prometheus or arguments.json else client.list_takes(limit=NUM_TAKES)
    except DaemonUnreachable:
        print(NO_DAEMON)
        return 1
    if arguments.prometheus:
        print(prometheus_text(reply), end="")
    elif arguments.json:
        print(json.dumps(asdict(reply)))
    else:
        Console(highlight=False).print(screen(reply, takes))
    return 0


def monitor(arguments: argparse.Namespace) -> int:
    """Show the daemon's state until Ctrl-C, through its ends and starts."""
    if not 0 < arguments.interval <= 3600:
        raise invalid("interval", float(arguments.interval), "above 0, at most 3600 seconds")
    console = Console(highlight=False)
    try:
        # Into a file or pipe rich would write its last picture only; there, one follows the other.
        with Live(console=console, auto_refresh=False, screen=True) if console.is_terminal else nullcontext() as live:
            for picture in pictures():
                if live is None:
                    console.print(picture, "")
                    console.file.flush()
                else:
                    live.update(picture, refresh=True)
                sleep(float(arguments.interval))
    except KeyboardInterrupt:
        pass
    return 0


def pictures() -> Iterator[RenderableType]:
    """Yield the screen again and again; a daemon that has gone is looked for anew."""
    while True:
        try:
            with Client.connect(autostart=False) as client:
                while True:
                    yield screen(client.status(), client.list_takes(limit=NUM_TAKES))
        except DaemonUnreachable:
            yield Text(NO_DAEMON)


def screen(reply: StatusReply, takes: tuple[TakeInfo, ...]) -> RenderableType:
    """Return one screen of everything."""
    parts: list[RenderableType] = [summary(reply)]
    if reply.jobs:
        parts += ["", jobs_table(reply.jobs)]
    if reply.stages:
        parts += ["", stages_table(reply.stages)]
    if reply.ended:
        parts += ["", ended_table(reply.ended)]
    if takes:
        parts += ["", takes_table(takes)]
    return Group(*parts)


def summary(reply: StatusReply) -> Table:
    engine, store = reply.engine, reply.store
    table = Table.grid(padding=(0, 2))
    table.add_row("daemon", f"process {reply.pid}, up {duration(reply.uptime_seconds)}{memory(reply.num_bytes)}")
    where = f", process {engine.pid}{memory(engine.num_bytes)}" if engine.pid else ""
    deaths = f", ended unasked {engine.num_deaths} times" if engine.num_deaths else ""
    table.add_row("engine", f"{engine.state}{where}{deaths}")
    for model in engine.models:
        reason = f" ({model.precision_reason})" if model.precision_reason else ""
        where = f"{model.name} on {model.device} in {model.precision}{reason}"
        table.add_row("model", f"{where}, {megabytes(model.num_bytes)}")
    ended = f"{reply.num_finished} finished, {reply.num_failed} failed, {reply.num_cancelled} cancelled"
    table.add_row("jobs", f"{len(reply.jobs)} live, {ended}")
    budget = f" of {megabytes(store.budget_bytes)}" if store.budget_bytes else ""
    table.add_row("takes", f"{store.num_takes} in {megabytes(store.num_bytes)}{budget}")
    if store.problem:
        table.add_row("", Text(f"nothing can be stored: {store.problem}", style="red"))
    return table


def jobs_table(jobs: tuple[JobStatus, ...]) -> Table:
    table = plain_table("job", "state", "what", "stage", "left")
    for job in jobs[:NUM_LIVE]:
        state = f"queued, {job.position} ahead" if job.state == "queued" else job.state
        what = f"{job.num_samples / job.sample_rate:.1f} s, {job.model}" + (
            f", {job.priority}" if job.priority != "normal" else ""
        )
        stage = f"{job.stage} {job.step} of {job.num_steps}" if job.stage else ""
        left = "" if job.eta_seconds is None else f"{job.eta_seconds:.1f} s"
        table.add_row(job.job_id, state, what, stage, left)
    if len(jobs) > NUM_LIVE:
        table.add_row("", f"and {len(jobs) - NUM_LIVE} more")
    return table


def stages_table(stages: tuple[StageTimes, ...]) -> Table:
    table = plain_table("stage", "times", "mean", "half within", "99 % within")
    for stage in stages:
        count = sum(stage.counts)
        mean = f"{stage.sum_seconds / count:.3f} s" if count else ""
        table.add_row(stage.stage, str(count), mean, within(stage, 0.5), within(stage, 0.99))
    return table


def within(stage: StageTimes, share: float) -> str:
    """Return the bound that at least that share of the jobs kept."""
    reached, wanted = 0, share * sum(stage.counts)
    for bound, count in zip(stage.bounds_seconds, stage.counts, strict=False):
        reached += count
        if reached >= wanted:
            return f"{bound:g} s"
    return f"over {stage.bounds_seconds[-1]:g} s"


def ended_table(ended: tuple[JobEnd, ...]) -> Table:
    table = plain_table("ended job", "how", "what", "waited", "ran")
    for job in ended[:NUM_ENDED]:
        how = f"{job.outcome}: {job.code}" if job.code else job.outcome
        what = f"{job.num_samples / job.sample_rate:.1f} s, {job.model}"
        table.add_row(job.job_id, how, what, f"{job.waited_seconds:.2f} s", f"{job.ran_seconds:.2f} s")
    return table


def takes_table(takes: tuple[TakeInfo, ...]) -> Table:
    table = plain_table("take", "made", "length", "beats", "key", "prompt")
    for take in takes:
        made = take.made
        when = datetime.fromtimestamp(take.created_seconds).strftime("%Y-%m-%d %H:%M")
        length = f"{made.num_samples / take.sample_rate:.2f} s" + (", broken off" if take.interrupted else "")
        beats = f"{made.beats.bpm:.1f}" if made.beats and made.beats.confidence >= CLEAR_BEAT else ""
        tags = "".join(f" #{tag}" for tag in take.tags)
        prompt = Text(("* " if take.starred else "") + take.prompt + tags, overflow="ellipsis", no_wrap=True)
        table.add_row(take.take_id, when, length, beats, made.key.key if made.key else "", prompt)
    return table


def plain_table(*heads: str) -> Table:
    """Return a table without lines, its last column the one that gives way."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=head != heads[-1], overflow="ellipsis")
    return table


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def memory(num_bytes: int) -> str:
    return f", {megabytes(num_bytes)} of memory" if num_bytes else ""


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
