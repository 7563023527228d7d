"""The plugin's own processBlock under RealtimeSanitizer, while takes stream in and everything else goes on at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from plugin_host_tests.conftest import program
from tests.running_daemon import RunningDaemon, environment

SECONDS = 12
REPORTED = 43
"""The exit code of a program that RealtimeSanitizer has ended."""


def storm(word: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command, options = [str(program("sa3_storm")), word], {"RTSAN_OPTIONS": "halt_on_error=true", "DISPLAY": ":none"}
    return subprocess.run(
        command, env={**variables, **options}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("offence", "call"), [("allocate", "malloc"), ("lock", "pthread_mutex_lock"), ("offline", "pthread_mutex_lock")]
)
def test_the_sanitizer_finds_what_a_block_must_not_do(plugin: Path, tmp_path: Path, offence: str, call: str) -> None:
    """`offline` is the plugin itself in a bounce, where it may wait."""
    done = storm(offence, environment(tmp_path / "nobody") | {"HOME": str(tmp_path)})
    assert done.returncode == REPORTED and f"`{call}` in real-time context" in done.stderr


def test_no_block_allocates_locks_or_calls_the_system_while_takes_stream_in(
    plugin: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    daemon.engine_pid()
    done = storm(str(SECONDS), environment(daemon.runtime_dir) | {"HOME": str(tmp_path)})
    assert done.returncode == 0 and "RealtimeSanitizer" not in done.stderr, done.stderr[-6000:]
    happened = json.loads(done.stdout)
    print(happened)
    assert happened.pop("not_finite") == 0
    assert min(happened[name] for name in happened if name.startswith("blocks")) > 200, happened
    assert min(happened.values()) > 0, "something was never done, so nothing is proven of it"
