"""`sa3-daw takes` at work: what was made, found, marked, written and made again. Knows the store by its client only."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sa3_daw.cli.overview import megabytes, takes_table
from sa3_daw.cli.perform import cancelled_by_daemon, check_outputs
from sa3_daw.cli.play import play
from sa3_daw.cli.report import JsonReport, Report, TerminalReport, describe_length, describe_made
from sa3_daw.cli.source import take_id
from sa3_daw.cli.words import FAILURE
from sa3_daw.client import Client, JobCancelled, audio_address, new_job_id
from sa3_daw.errors import invalid
from sa3_daw.recipe import job_of_take, write_take


def list_takes(arguments: argparse.Namespace) -> int:
    return print_takes(arguments, "")


def search(arguments: argparse.Namespace) -> int:
    return print_takes(arguments, arguments.text)


def print_takes(arguments: argparse.Namespace, text: str) -> int:
    before = arguments.before
    with Client.connect() as client:
        takes = client.list_takes(text, arguments.tag, arguments.starred, arguments.limit, before)
    if arguments.json:
        for take in takes:
            print(json.dumps(asdict(take)))
    elif takes:
        Console(highlight=False).print(takes_table(takes))
    else:
        print("no takes")
    return 0


def show(arguments: argparse.Namespace) -> int:
    with Client.connect() as client:
        take, job = client.get_take(take_id(client, arguments.id))
    made = datetime.fromtimestamp(take.created_seconds).strftime("%Y-%m-%d %H:%M:%S")
    print(f"take {take.take_id}{' *' if take.starred else ''}{''.join(f' #{tag}' for tag in take.tags)}")
    print(f"  {take.prompt}")
    print(f"  {describe_length(replace(job, num_samples=take.made.num_samples))} from sample {job.start_sample}")
    print(f"  made {made} by sa3-daw {take.daemon_version}: model {take.model}, seed {take.made.seed}")
    for adapter in job.adapters:
        print(f"  adapter {adapter.name} at {adapter.strength:g}")
    for line in describe_made(take.made, with_changes=job.source is not None):
        print(f"  {line}")
    if take.interrupted:
        print("  broken off: its job ended before it was whole")
    if job.source is not None:
        print(f"  made from {', '.join(take.parents) or f'audio {job.source.audio[:16]}... sent by a client'}")
    return 0


def get(arguments: argparse.Namespace) -> int:
    with Client.connect() as client:
        take, job = client.get_take(take_id(client, arguments.id))
    print(json.dumps({"take": asdict(take), "job": asdict(job)}, indent=1))
    return 0


def star(arguments: argparse.Namespace) -> int:
    return change(arguments.ids, starred=True)


def unstar(arguments: argparse.Namespace) -> int:
    return change(arguments.ids, starred=False)


def tag(arguments: argparse.Namespace) -> int:
    return change([arguments.id], add_tags=arguments.tags)


def untag(arguments: argparse.Namespace) -> int:
    return change([arguments.id], remove_tags=arguments.tags)


def change(
    ids: Sequence[str], starred: bool | None = None, add_tags: Sequence[str] = (), remove_tags: Sequence[str] = ()
) -> int:
    """Change takes and show them as they are now."""
    with Client.connect() as client:
        changed = [client.change_take(take_id(client, each), starred, add_tags, remove_tags) for each in ids]
    Console(highlight=False).print(takes_table(tuple(changed)))
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Delete takes; exit code 1 when one of them was not there."""
    missing = 0
    with Client.connect() as client:
        for each in [take_id(client, word) for word in arguments.ids]:
            deleted = client.delete_take(each)
            missing += not deleted
            print(f"{each} deleted" if deleted else f"there is no take {each}")
    return FAILURE if missing else 0


def collect(arguments: argparse.Namespace) -> int:
    with Client.connect() as client:
        num_takes, num_bytes = client.collect_garbage(arguments.budget_mb)
    print(f"{num_takes} takes deleted, {megabytes(num_bytes)} freed")
    return 0


def export(arguments: argparse.Namespace) -> int:
    with Client.connect() as client:
        ids = [take_id(client, word) for word in arguments.ids]
        paths = [export_path(arguments.output, each, len(ids)) for each in ids]
        for path in paths:
            check_outputs(path, 1, force=arguments.force)
        for each, path in zip(ids, paths, strict=True):
            take, job = client.get_take(each)
            write_take(path, client.get_audio(take.audio), job_of_take(job, take.made), take.take_id, take.audio)
            print(f"{path}: take {take.take_id}, {take.made.num_samples} samples at {job.sample_rate} Hz")
    return 0


def export_path(output: Path | None, take: str, num_takes: int) -> Path:
    """Return where a take goes: the file named, or its own name in the folder named."""
    name = f"take-{take}.wav"
    if output is None or output.is_dir():
        return (output or Path()) / name
    if num_takes > 1:
        raise invalid("output", str(output), "a folder that exists, when several takes are exported")
    return output


def rerender(arguments: argparse.Namespace) -> int:
    """Make a take again, keeping no second copy of the same; exit code 1 when it is not bit-identical."""
    report: Report = JsonReport() if arguments.json else TerminalReport()
    if arguments.output is not None:
        check_outputs(arguments.output, 1, force=arguments.force)
    with report, Client.connect() as client:
        take, recipe = client.get_take(take_id(client, arguments.id))
        job = replace(job_of_take(recipe, take.made), job_id=new_job_id(), durable=False)
        report.submitted(job)
        try:
            result = client.generate(job, report.event)
        except JobCancelled:
            raise cancelled_by_daemon() from None
        again = result.takes[0].take
        same = audio_address(result.samples) == take.audio
        if same and arguments.output is None:
            client.delete_take(again.take_id)
        peak = 0.0 if same else peak_difference(result.samples, client.get_audio(take.audio))
    report.rerendered(take.take_id, peak_difference=peak, identical=same)
    if arguments.output is not None:
        write_take(arguments.output, result.samples, job, again.take_id, again.audio)
        if arguments.play:
            play(arguments.output)
    return 0 if same else FAILURE


def peak_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the largest difference of two clips; infinite when their lengths differ."""
    return float(np.abs(one - other).max()) if one.shape == other.shape else math.inf
