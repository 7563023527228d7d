"""Which effects are built in and what their parameters are. Knows no audio; pedalboard itself is not imported.

pedalboard is under the GPL and slow to load, so only the child process that renders a chain imports it.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.table import Grid, Table
from sa3_daw.render.project.values import Automation, Effect, EffectValue

IMPULSE = "impulse_response_filename"
MODES = ("LPF12", "HPF12", "BPF12", "LPF24", "HPF24", "BPF24")

BUILT_IN: dict[str, tuple[str, ...]] = {
    "Bitcrush": ("bit_depth",),
    "BrickwallLimiter": ("ceiling_db", "release_ms", "lookahead_ms", "true_peak"),
    "Chorus": ("rate_hz", "depth", "centre_delay_ms", "feedback", "mix"),
    "Clipping": ("threshold_db",),
    "Compressor": ("threshold_db", "ratio", "attack_ms", "release_ms"),
    "Convolution": (IMPULSE, "mix"),
    "Delay": ("delay_seconds", "feedback", "mix"),
    "Distortion": ("drive_db",),
    "Gain": ("gain_db",),
    "HighShelfFilter": ("cutoff_frequency_hz", "gain_db", "q"),
    "HighpassFilter": ("cutoff_frequency_hz",),
    "Invert": (),
    "LadderFilter": ("mode", "cutoff_hz", "resonance", "drive"),
    "Limiter": ("threshold_db", "release_ms"),
    "LowShelfFilter": ("cutoff_frequency_hz", "gain_db", "q"),
    "LowpassFilter": ("cutoff_frequency_hz",),
    "NoiseGate": ("threshold_db", "ratio", "attack_ms", "release_ms"),
    "PeakFilter": ("cutoff_frequency_hz", "gain_db", "q"),
    "Phaser": ("rate_hz", "depth", "centre_frequency_hz", "feedback", "mix"),
    "PitchShift": ("semitones",),
    "Reverb": ("room_size", "damping", "wet_level", "dry_level", "width", "freeze_mode"),
}
"""pedalboard's effects by class, with their parameters; a test compares them with pedalboard's own."""


def read_effect(table: Table, grid: Grid) -> Effect:
    """Read one effect of a chain. Raises Problem."""
    table.only("use", "plugin", "plugin_name", "preset", "parameters", "automation")
    if table.has("use") == table.has("plugin"):
        raise Problem(table.line(), "an effect has either use (a built-in effect's name) or plugin (a path)")
    parameters = table.table("parameters")
    if table.has("use"):
        name = table.choice("use", tuple(BUILT_IN))
        for field in ("plugin_name", "preset"):
            if table.has(field):
                raise Problem(table.line(field), f"{field} is for plugins; {name} is built in")
        parameters.only(*BUILT_IN[name])
        if name == "Convolution":
            parameters.text(IMPULSE)
        values = [(key, built_in_value(parameters, key)) for key in parameters.values]
        plugin = ""
    else:
        plugin = table.text("plugin")
        name = PurePosixPath(plugin.replace("\\", "/")).name
        values = [(key, any_value(parameters, key)) for key in parameters.values]
    return Effect(
        line=table.line(),
        name=name,
        plugin=plugin,
        plugin_name=table.text("plugin_name", ""),
        preset=table.text("preset", ""),
        parameters=tuple(values),
        automation=tuple(read_automation(each, grid, name) for each in table.tables("automation")),
    )


def built_in_value(parameters: Table, key: str) -> EffectValue:
    if key == IMPULSE:
        return parameters.text(key)
    if key == "mode":
        return parameters.choice(key, MODES)
    return parameters.flag(key) if key == "true_peak" else parameters.number(key)


def any_value(parameters: Table, key: str) -> EffectValue:
    """Return a plugin's parameter, whose type only the plugin knows."""
    value = parameters.values[key]
    if isinstance(value, bool | str):
        return value
    return parameters.number(key)


def read_automation(table: Table, grid: Grid, effect: str) -> Automation:
    """Read one parameter's points, in order. Raises Problem."""
    table.only("parameter", "points")
    parameter = table.text("parameter")
    if effect in BUILT_IN and (parameter not in BUILT_IN[effect] or parameter in (IMPULSE, "mode", "true_peak")):
        allowed = [each for each in BUILT_IN[effect] if each not in (IMPULSE, "mode", "true_peak")]
        raise table.wrong("parameter", ", ".join(allowed) or "none: this effect has none that moves")
    given = table.values.get("points")
    if not isinstance(given, list) or not given:
        raise table.wrong("points", "a list of [place, value], such as [['0bars', 200], ['4bars', 8000]]")
    points: list[tuple[int, EffectValue]] = []
    for index, point in enumerate(given):
        where = table.line("points", index)
        if not isinstance(point, list) or len(point) != 2:
            raise Problem(where, f"point {index + 1} is not a [place, value]")
        place, value = point
        pair = Table({"place": place, "value": value}, (), {(): where, ("place",): where, ("value",): where})
        sample = pair.place("place", grid)
        if isinstance(value, float) and not math.isfinite(value):
            raise pair.wrong("value", "a number, a text, true or false")
        if points and sample <= points[-1][0]:
            raise Problem(where, f"point {index + 1} does not lie after the one before it")
        points.append((sample, any_value(pair, "value")))
    if len({type(value) for _, value in points}) > 1:
        raise Problem(table.line("points"), "the values of one automation are of one type")
    return Automation(table.line(), parameter, tuple(points))
