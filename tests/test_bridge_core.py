"""The plugin's core: its own C++ tests, also under every sanitizer, and how long the audio callback takes."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.bridge_build import ROOT, build

MAX_SHARE_OF_BLOCK = 0.05


def run_core_tests(sanitizer: str, compiler: str = "g++", **environment: str) -> str:
    program = build("sa3-core-tests", sanitizer, compiler)
    variables = {**os.environ, "SA3_VECTORS": str(ROOT / "tests" / "vectors"), **environment}
    done = subprocess.run([str(program)], env=variables, capture_output=True, text=True, check=False, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return output


def test_core_passes_its_own_tests_and_neither_allocates_nor_locks_on_the_audio_path() -> None:
    assert "0 failed" in run_core_tests("")


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_core_is_clean_under(sanitizer: str) -> None:
    output = run_core_tests(sanitizer, ASAN_OPTIONS="detect_leaks=1", TSAN_OPTIONS="halt_on_error=1")
    assert "Sanitizer" not in output and "runtime error" not in output


def test_audio_path_has_no_real_time_violations() -> None:
    """RealtimeSanitizer at run time; clang's -Wfunction-effects with -Werror while compiling."""
    assert "RealtimeSanitizer" not in run_core_tests("realtime", "clang++-22", RTSAN_OPTIONS="halt_on_error=true")


def test_audio_callback_takes_less_than_5_percent_of_a_64_sample_block_while_a_stream_writes() -> None:
    """Measured in the thread's own processor time: other programs of a busy machine are not ours to answer for."""
    program = build("sa3-core-calm")
    measured = json.loads(
        subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=120).stdout
    )
    assert measured["cpu_p999_us"] < MAX_SHARE_OF_BLOCK * measured["block_us"], measured
