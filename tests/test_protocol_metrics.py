"""Prometheus metrics: every line has the text format's form, and the numbers are those of the status."""

from __future__ import annotations

import re
from dataclasses import replace

from sa3_daw.protocol.messages import ResidentModel, StageTimes, StatusReply
from sa3_daw.protocol.metrics import prometheus_text
from tests.make_vectors import MESSAGES

STATUS = next(message for message in MESSAGES if isinstance(message, StatusReply))
LINE = re.compile(r'^sa3_daw_[a-z_]+(\{([a-z]+="([^"\\\n]|\\.)*",?)+\})? -?[0-9.e+]+$')


def test_every_line_is_a_comment_or_a_sample() -> None:
    for line in prometheus_text(STATUS).splitlines():
        assert line.startswith(("# HELP sa3_daw_", "# TYPE sa3_daw_")) or LINE.match(line), line


def test_numbers_are_those_of_the_status() -> None:
    lines = prometheus_text(STATUS).splitlines()
    assert f'sa3_daw_jobs_ended_total{{outcome="failed"}} {float(STATUS.num_failed)}' in lines
    assert 'sa3_daw_jobs{state="running"} 1.0' in lines
    assert f"sa3_daw_store_bytes {float(STATUS.store.num_bytes)}" in lines
    assert "sa3_daw_store_healthy 1.0" in lines


def test_buckets_add_up_to_the_count() -> None:
    status = replace(STATUS, stages=(StageTimes("sampling", (0.25, 1.0), (1, 2, 4), 9.5),))
    buckets = re.findall(r'stage_seconds_bucket\{stage="sampling",le="(.+?)"\} (\S+)', prometheus_text(status))
    assert buckets == [("0.25", "1.0"), ("1", "3.0"), ("+Inf", "7.0")]
    assert 'sa3_daw_stage_seconds_count{stage="sampling"} 7.0' in prometheus_text(status)


def test_a_models_name_cannot_break_a_line() -> None:
    engine = replace(STATUS.engine, models=(ResidentModel('a"b\\c\nd', "cpu", "fp32", 1),))
    for line in prometheus_text(replace(STATUS, engine=engine)).splitlines():
        assert line.startswith("# ") or LINE.match(line), line
