"""`sa3-daw demo`: four bars from the embedded model, a file and a picture. Knows what the README promises."""

from __future__ import annotations

import argparse
from dataclasses import replace

from sa3_daw.audio.files import check_writable, read_wav
from sa3_daw.cli.manage import stop_and_wait
from sa3_daw.cli.perform import perform
from sa3_daw.cli.play import play
from sa3_daw.cli.report import TerminalReport, Written, describe_length, describe_levels, describe_times
from sa3_daw.client import Client, new_job_id
from sa3_daw.errors import DaemonUnreachable
from sa3_daw.job import Job
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.picture import draw_picture

PROMPT, NUM_BARS, BPM, SAMPLE_RATE = "house drums and bass", 4, 127.5, 44_100


def run(arguments: argparse.Namespace) -> int:
    wav, png = (arguments.directory / name for name in ("demo.wav", "demo.png"))
    check_writable(wav)
    tempo = TempoMap.constant(BPM)
    _, num_samples = tempo.bar_range_samples(0, NUM_BARS, SAMPLE_RATE)
    job = Job(new_job_id(), PROMPT, num_samples, SAMPLE_RATE, arguments.seed, tempo.points)
    started_here = not daemon_runs()
    with Client.connect() as client:
        try:
            with QuietReport() as report:
                (take,) = perform(client, job, wav, report)
            with QuietReport() as report:
                (again,) = perform(client, replace(job, job_id=new_job_id()), wav, report)
        finally:
            if started_here and not arguments.keep:
                stop_and_wait(client)
    samples, sample_rate, _, start_sample = read_wav(wav)
    title = f'"{PROMPT}", {NUM_BARS} bars of 4/4 at {BPM} BPM, model {take.job.model}, seed {take.job.seed}'
    draw_picture(png, samples, sample_rate, tempo, start_sample, title)
    print(f'"{PROMPT}", {NUM_BARS} bars of 4/4 at {BPM} BPM: {describe_length(take.job)}')
    print(f"{describe_levels(take.take.made)}, seed {take.job.seed}, model {take.job.model}")
    print(f"cold: {describe_times(take.seconds)}")
    print(f"warm: {describe_times(again.seconds)}")
    print(f"sound    {wav.resolve()}")
    print(f"picture  {png.resolve()}")
    if started_here:
        print("the daemon keeps running; `sa3-daw stop` ends it" if arguments.keep else "the daemon was stopped again")
    if arguments.play:
        play(wav)
    return 0


class QuietReport(TerminalReport):
    """Shows the bars only; the demo has its own summary."""

    def written(self, written: Written) -> None:
        pass


def daemon_runs() -> bool:
    try:
        with Client.connect(autostart=False):
            return True
    except DaemonUnreachable:
        return False
