"""What plugin validators do at their strictest, done by ourselves with the VST3: `host/strict.cpp` holds the checks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.running_daemon import environment

CHECKS = (
    "blocks_of_all_sizes_and_rates",
    "descriptions_of_parameters",
    "input_that_is_no_number",
    "layouts",
    "many_instances",
    "parameters_from_three_threads",
    "states_of_garbage",
    "states_while_it_plays",
    "values_come_back_with_the_state",
)


def check(name: str, host_program: Path, plugin: Path, variables: dict[str, str]) -> None:
    command = [str(host_program), name, str(plugin)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.mark.parametrize("name", CHECKS)
def test_the_plugin_withstands(host_program: Path, plugin: Path, tmp_path: Path, name: str) -> None:
    check(name, host_program, plugin, environment(tmp_path / "nobody") | {"HOME": str(tmp_path), "DISPLAY": ":none"})


def test_the_plugin_withstands_windows_that_come_and_go_while_it_plays(
    host_program: Path, plugin: Path, screen: str, tmp_path: Path
) -> None:
    variables = environment(tmp_path / "nobody") | {"HOME": str(tmp_path), "DISPLAY": screen}
    check("windows_opened_and_closed_while_it_plays", host_program, plugin, variables)
