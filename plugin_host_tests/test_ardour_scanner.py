"""Ardour's own scanner takes the plugin as a stereo effect. Starts no Ardour and no daemon."""

from __future__ import annotations

from pathlib import Path

from plugin_host_tests.ardour import home, scan


def test_the_scanner_of_ardour_takes_the_plugin_as_a_stereo_effect(plugin: Path, tmp_path: Path) -> None:
    told = scan(plugin, home(tmp_path))
    assert "Found Plugin: sa3-daw" in told
    assert 'category="Fx|Generator"' in told and 'n_inputs="2" n_outputs="2"' in told
