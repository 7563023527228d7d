"""One output of a project: which file, of what, in which form. Knows no audio."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.table import Table
from sa3_daw.render.project.values import Output

UNFIT_FOR_NAMES = re.compile(r'[\x00-\x1f/\\:*?"<>|{}]')
DEPTHS = {".wav": (16, 24, 32), ".flac": (16, 24), ".aiff": (16, 24, 32), ".aif": (16, 24, 32)}
"""Bits of whole numbers by a file's ending; WAV can be 32-bit float as well."""
MAX_NAME_BYTES = 140
"""Of a file or folder, so that 255 are not reached with {name} filled in and the ending of a picture."""


def read_output(table: Table, project_rate: int) -> Output:
    """Read one output. Raises Problem."""
    table.only("file", "of", "rate", "depth", "dither", "loudness_lufs", "true_peak_db")
    file, of = table.text("file"), table.text("of", "mix")
    path = PurePosixPath(file)
    suffix = path.suffix.lower()
    unfit = UNFIT_FOR_NAMES.search(file.replace("/", "").replace("{name}", ""))
    is_long = any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts)
    if suffix not in DEPTHS or path.is_absolute() or ".." in path.parts or unfit or is_long:
        ending = f"ending in .wav, .flac, .aiff or .aif, no name longer than {MAX_NAME_BYTES} bytes"
        raise table.wrong("file", f"a file inside the output folder, {ending}")
    if (of == "stems") != ("{name}" in file):
        raise table.wrong("file", "a name with {name} in it for stems, and only for stems")
    rate = table.whole("rate", project_rate, 8000, 384_000)
    depth, has_depth = 24, table.has("depth")
    if has_depth and table.values["depth"] == "float" and suffix == ".wav":
        depth = 0
    elif has_depth:
        depth = table.whole("depth", 24, 16)
        if depth not in DEPTHS[suffix]:
            words = [*map(str, DEPTHS[suffix]), *(['"float"'] if suffix == ".wav" else [])]
            raise table.wrong("depth", ", ".join(words))
    dither = table.choice("dither", ("tpdf", "none"), "tpdf" if 0 < depth < 32 else "none") == "tpdf"
    if dither and not depth:
        raise table.wrong("dither", "none for 32-bit float")
    loudness = table.optional_number("loudness_lufs", (-70.0, 0.0))
    ceiling = table.optional_number("true_peak_db", (-60.0, 0.0))
    if of == "stems" and (loudness is not None or ceiling is not None):
        field = "loudness_lufs" if loudness is not None else "true_peak_db"
        raise Problem(table.line(field), f"{field} would take stems apart that are to sum up; allowed: for one file")
    return Output(table.line(), file, of, rate, depth, dither, loudness, ceiling)
