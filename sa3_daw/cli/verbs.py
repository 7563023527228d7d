"""The job verbs at work: a source and arguments become one job, which is performed. Knows no bytes and no model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

from sa3_daw import edits
from sa3_daw.cli.perform import check_outputs, perform
from sa3_daw.cli.play import play
from sa3_daw.cli.report import JsonReport, Report, TerminalReport, Written
from sa3_daw.cli.request import Given, checked, job_from, plain_job
from sa3_daw.cli.source import read_source
from sa3_daw.client import Client, audio_address, new_job_id, random_seed
from sa3_daw.errors import invalid
from sa3_daw.job import Job
from sa3_daw.music.places import Clip, bars_before_samples, led_into, ppq_after_bars, read_region
from sa3_daw.music.timeline import TempoMap, round_half_up

Edit = Callable[[Job, str, int], Job]
"""A plain job, the source's address and its number of samples -> the edit's job."""


def generate(arguments: argparse.Namespace) -> int:
    job = job_from(arguments, new_job_id(), random_seed())
    check_outputs(arguments.output, job.num_variations, force=arguments.force)
    report = report_of(arguments)
    with report, Client.connect() as client:
        written = perform(client, job, arguments.output, report)
    return finish(arguments, written)


def inpaint(arguments: argparse.Namespace) -> int:
    def edit(job: Job, audio: str, num_samples: int) -> Job:
        clip = Clip(TempoMap(job.tempo_map), job.start_sample, num_samples, job.sample_rate)
        regions = sorted((read_region(text, clip) for text in arguments.region), key=lambda region: region.start_sample)
        return edits.inpaint(job, audio, num_samples, regions)

    return edit_clip(arguments, edit)


def continue_clip(arguments: argparse.Namespace) -> int:
    def edit(job: Job, audio: str, num_samples: int) -> Job:
        clip = Clip(TempoMap(job.tempo_map), job.start_sample, num_samples, job.sample_rate)
        if not arguments.before:
            return edits.continue_after(job, audio, num_samples, length_after(arguments, clip))
        num_new = length_before(arguments, clip)
        job = replace(job, start_sample=led_into(clip, num_new))
        return edits.continue_before(job, audio, num_samples, num_new)

    return edit_clip(arguments, edit)


def restyle(arguments: argparse.Namespace) -> int:
    return edit_clip(
        arguments, lambda job, audio, num_samples: edits.restyle(job, audio, num_samples, arguments.noise_level)
    )


def loop(arguments: argparse.Namespace) -> int:
    return edit_clip(arguments, edits.loop)


def edit_clip(arguments: argparse.Namespace, edit: Edit) -> int:
    """Read the source, build the job, store the source at the daemon, perform the job."""
    checked("num_variations", arguments.variations, 1)
    check_outputs(arguments.output, arguments.variations, force=arguments.force)
    report = report_of(arguments)
    with report, Client.connect() as client:
        source = read_source(client, arguments.input, arguments.rate)
        for note in source.notes:
            report.note(note)
        job = plain_job(arguments, with_prompt(arguments, source.given), new_job_id(), random_seed())
        job = edit(job, audio_address(source.samples), source.samples.shape[1])
        edits.check_combination(job)  # Before a long source is sent.
        client.put_audio(source.samples)
        written = perform(client, job, arguments.output, report)
    return finish(arguments, written)


def with_prompt(arguments: argparse.Namespace, given: Given) -> Given:
    if arguments.prompt is None and not given.prompt:
        raise invalid("prompt", "", f"--prompt TEXT; {arguments.input} holds no recipe to take it from")
    return given


def length_after(arguments: argparse.Namespace, clip: Clip) -> int:
    """Return the length asked for, from the clip's end on."""
    if arguments.bars is None:
        return plain_length(arguments, clip.sample_rate)
    end = ppq_after_bars(clip.tempo, clip.end_ppq(), arguments.bars)
    num_samples = clip.tempo.sample_at(end, clip.sample_rate) - clip.start_sample - clip.num_samples
    return checked("bars in samples", num_samples, 1)


def length_before(arguments: argparse.Namespace, clip: Clip) -> int:
    """Return the length asked for, up to the clip's start."""
    if arguments.bars is None:
        return plain_length(arguments, clip.sample_rate)
    return checked("bars in samples", bars_before_samples(clip, arguments.bars), 1)


def plain_length(arguments: argparse.Namespace, sample_rate: int) -> int:
    if arguments.samples is not None:
        return checked("samples", arguments.samples, 1)
    return checked("seconds in samples", round_half_up(arguments.seconds * sample_rate), 1)


def report_of(arguments: argparse.Namespace) -> Report:
    return JsonReport() if arguments.json else TerminalReport()


def finish(arguments: argparse.Namespace, written: list[Written]) -> int:
    if arguments.play:
        for each in written:
            play(each.path)
    return 0
