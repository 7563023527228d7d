"""`sa3-daw batch`: a table of jobs into a folder, with progress, manifest and report. Knows no job's making."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sa3_daw.cli.maker import open_maker
from sa3_daw.cli.perform import cancelled_by_daemon
from sa3_daw.cli.request import checked
from sa3_daw.cli.words import FAILURE
from sa3_daw.client import HelloReply, JobCancelled
from sa3_daw.daemon.job_checks import check_length, check_negative_prompt, check_plain_fields
from sa3_daw.errors import InvalidField, Sa3Error, invalid
from sa3_daw.render.batch import Entry, Policy, run_batch
from sa3_daw.render.batch_jobs import Item, read_items
from sa3_daw.render.batch_report import write_report

MAX_IN_FLIGHT = 1000


def run(arguments: argparse.Namespace) -> int:
    """Check everything, make everything, say what became of it."""
    if arguments.in_flight is not None and not 1 <= arguments.in_flight <= MAX_IN_FLIGHT:
        raise invalid("in-flight", arguments.in_flight, f"1 to {MAX_IN_FLIGHT}")
    retries = checked("retries", arguments.retries, 0)
    items = read_items(arguments.jobs)
    with open_maker(arguments.ray) as (maker, best_in_flight):
        check_limits(arguments.jobs, maker.hello(), items)
        policy = Policy(arguments.in_flight or best_in_flight, retries, arguments.keep_going)
        arguments.output.mkdir(parents=True, exist_ok=True)
        with BatchProgress(len(items), as_json=arguments.json) as progress:
            try:
                entries = run_batch(maker, items, arguments.output, policy, progress.entry)
            except JobCancelled:
                raise cancelled_by_daemon() from None
    report = write_report(arguments.output, entries, len(items))
    num_failed = sum("error" in entry for entry in entries)
    num_left = len(items) - len(entries)
    if arguments.json:
        print(json.dumps({"event": "batch", "made": len(entries) - num_failed, "failed": num_failed, "left": num_left}))
    else:
        left = f", {num_left} not begun" if num_left else ""
        print(f"{report}: {len(entries) - num_failed} of {len(items)} files, {num_failed} failed{left}")
    return FAILURE if num_failed or num_left else 0


def check_limits(path: Path, hello: HelloReply, items: list[Item]) -> None:
    """Find out, before anything is made, what this daemon would refuse. Raises InvalidField."""
    models = {model.name: model for model in hello.models}
    for item in items:
        where = f"{path} line {item.line}:"
        if item.job.model not in models:
            raise invalid(f"{where} model", item.job.model, ", ".join(sorted(models)))
        try:
            check_plain_fields(item.job)
            check_length(item.job)
            check_negative_prompt(item.job, models[item.job.model].default_guidance_scale)
        except Sa3Error as error:
            raise InvalidField(f"{where} {error.message}", field=error.field) from error


class BatchProgress:
    """A bar with the time that is left, on a terminal; or a JSON line per entry. Failures are said at once."""

    def __init__(self, num_items: int, *, as_json: bool) -> None:
        console = Console(stderr=True)
        self._as_json = as_json
        self._bars = Progress(
            TextColumn("batch"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=as_json or not console.is_terminal,
        )
        self._task = self._bars.add_task("batch", total=num_items)

    def __enter__(self) -> BatchProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def entry(self, entry: Entry, was_there: bool) -> None:
        self._bars.advance(self._task)
        if self._as_json:
            print(json.dumps({"event": "entry", "was_there": was_there, **entry}), flush=True)
        elif "error" in entry:
            print(f"sa3-daw: line {entry['line']}, {entry['file']}: {entry['error']}", file=sys.stderr)
