"""DaemonConfig: defaults, then the TOML file, then SA3_ environment variables, then flags; read once, frozen.

The only module that reads the environment. Knows no socket and no model.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from sa3_daw.errors import InvalidField, invalid

ENGINE_COMMAND = (sys.executable, "-u", "-m", "sa3_daw.engine.main")
CONFIG_FILE_VARIABLE = "SA3_CONFIG"


@dataclass(frozen=True)
class DaemonConfig:
    """Everything a daemon is told at its start. Each key is also SA3_KEY in the environment."""

    runtime_dir: Path
    """Connection file, sockets, lock and logs; private to the user."""
    models_dir: Path
    """Each sub-folder with a model_config.json is a model, beside the embedded one."""
    engine_command: tuple[str, ...]
    """The command line that starts an engine: any program that speaks the engine link of docs/protocol.md."""
    engine_at_start: bool
    """Start the engine with the daemon; otherwise with the first job."""
    preload: str
    """Model that an engine loads before its first job; empty loads none."""
    engine_threads: int
    """Threads the engine computes with. By default half the processors: a DAW needs the rest, and threads that
    fight another process for a core are many times slower than fewer threads that do not."""
    max_queued_jobs: int
    """Jobs that may wait, over all clients."""
    log_level: str
    """debug, info, warning or error."""


def load_config(flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> DaemonConfig:
    """Read the configuration; later sources win: defaults, file, environment, flags.

    Raises InvalidField on an unknown key, naming the nearest one, and on a value of the wrong type.
    """
    environ = os.environ if environment is None else environment
    values = _defaults(environ) | _from_file(environ) | _from_environment(environ)
    values |= _checked(dict(flags or {}), "flag")
    config = DaemonConfig(**values)
    if config.engine_threads < 1:
        raise invalid("engine_threads", config.engine_threads, "1 or more")
    if config.max_queued_jobs < 1:
        raise invalid("max_queued_jobs", config.max_queued_jobs, "1 or more")
    if not config.engine_command:
        raise invalid("engine_command", config.engine_command, "a program and its arguments")
    if config.log_level not in ("debug", "info", "warning", "error"):
        raise invalid("log_level", config.log_level, "debug, info, warning, error")
    return config


def plain_config(config: DaemonConfig) -> dict[str, Any]:
    """Return a configuration as JSON can carry it, for the engine's process."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(config).items()}


def config_from_plain(values: Mapping[str, Any]) -> DaemonConfig:
    """Return what ``plain_config`` was given. Reads no file and no environment."""
    return DaemonConfig(**_checked(values, "from the daemon"))


def _defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    threads = environ.get("OMP_NUM_THREADS", "")
    return {
        "runtime_dir": default_runtime_dir(environ),
        "models_dir": _user_dir(environ, "XDG_DATA_HOME", ".local/share") / "models",
        "engine_command": ENGINE_COMMAND,
        "engine_at_start": True,
        "preload": "nano",
        "engine_threads": int(threads) if threads.isdecimal() and int(threads) else max(1, (os.cpu_count() or 1) // 2),
        "max_queued_jobs": 256,
        "log_level": "info",
    }


def default_runtime_dir(environ: Mapping[str, str]) -> Path:
    """Return the per-user directory every client looks into."""
    if sys.platform in ("win32", "darwin"):
        return _user_dir(environ, "", "") / "run"
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "sa3-daw"
    return Path(tempfile.gettempdir()) / f"sa3-daw-{os.getuid()}"


def _user_dir(environ: Mapping[str, str], xdg: str, beneath_home: str) -> Path:
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "sa3-daw"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/sa3-daw"
    return Path(environ.get(xdg) or Path.home() / beneath_home) / "sa3-daw"


def _from_file(environ: Mapping[str, str]) -> dict[str, Any]:
    named = environ.get(CONFIG_FILE_VARIABLE, "")
    path = Path(named) if named else _user_dir(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"
    if not named and not path.is_file():
        return {}
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content = toml.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidField(f"{path} cannot be read: {error}", field=str(path)) from error
    return _checked(content, str(path))


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    prefixed = {key: text for key, text in environ.items() if key.startswith("SA3_") and key != CONFIG_FILE_VARIABLE}
    values = {key[4:].lower(): text for key, text in prefixed.items()}
    return _checked({key: _parsed(key, text) for key, text in values.items()}, "environment variable SA3_")


def _parsed(key: str, text: str) -> Any:
    """Give a variable's text the type of its key; what cannot be parsed stays text and is refused by type."""
    wanted = get_type_hints(DaemonConfig).get(key)
    if wanted is bool:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    if wanted is int:
        return int(text) if text.strip().isdecimal() else text
    return shlex.split(text) if wanted == tuple[str, ...] else text


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    hints = get_type_hints(DaemonConfig)
    names = [field.name for field in fields(DaemonConfig)]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)[0]
            raise InvalidField(
                f"unknown key {key!r} ({source}); did you mean {near!r}?", field=key, allowed=", ".join(names)
            )
        checked[key] = _typed(key, value, hints[key], source)
    return checked


def _typed(key: str, value: Any, wanted: Any, source: str) -> Any:
    if wanted is Path and isinstance(value, str | Path) and str(value):
        return Path(value).expanduser().absolute()
    if wanted == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if wanted in (bool, int, str) and type(value) is wanted:
        return value
    words = {Path: "a path", bool: "true or false", int: "a whole number", str: "text"}.get(wanted, "a list of texts")
    raise invalid(f"{key} ({source})", value, words)
