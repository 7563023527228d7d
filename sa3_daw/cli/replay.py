"""`sa3-daw replay`: a request log made again, and what differs. Knows no job's making."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from sa3_daw.cli.perform import cancelled_by_daemon
from sa3_daw.cli.words import FAILURE
from sa3_daw.client import Client, JobCancelled
from sa3_daw.render.replay import Compared, read_log, replay

IN_FLIGHT = 4


def run(arguments: argparse.Namespace) -> int:
    """Say of each variation whether it is the stored one, bit for bit; exit code 1 when one is not."""
    jobs = read_log(arguments.log)
    results = []
    with Client.connect() as client:
        try:
            for result in replay(client, jobs, IN_FLIGHT):
                results.append(result)
                print(json.dumps({"event": "replayed", **asdict(result)}) if arguments.json else sentence(result))
        except JobCancelled:
            raise cancelled_by_daemon() from None
    num_bad = sum(not result.is_good for result in results)
    if not arguments.json:
        num_same = sum(result.identical is True for result in results)
        print(f"{len(jobs)} jobs: {num_same} takes bit-identical, {num_bad} different or failed")
    return FAILURE if num_bad else 0


def sentence(result: Compared) -> str:
    """Return what became of one variation, in words."""
    where = f"job {result.job_id}, variation {result.variation + 1}"
    if result.error:
        return f"job {result.job_id}: failed: {result.error}"
    if result.identical is None:
        return f"{where}: made again; no whole take is stored to compare it with"
    if result.identical:
        return f"{where}: bit-identical to take {result.take_id}"
    return f"{where}: DIFFERENT from take {result.take_id} {result.difference}"
