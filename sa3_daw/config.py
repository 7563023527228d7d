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
RAY_ENGINE_COMMAND = (sys.executable, "-u", "-m", "sa3_daw.engine.ray_main")
CONFIG_FILE_VARIABLE = "SA3_CONFIG"
CURVE_KEY_CHARS = 40
LEAST = {
    "engine_threads": 1,
    "max_queued_jobs": 1,
    "memory_budget_mb": 0,
    "idle_unload_seconds": 0,
    "engine_stall_seconds": 1,
    "engine_cancel_seconds": 1,
    "takes_budget_mb": 0,
}
CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "fp32", "bf16", "w8a8"),
}


@dataclass(frozen=True)
class DaemonConfig:
    """Everything a daemon is told at its start. Each key is also SA3_KEY in the environment."""

    runtime_dir: Path
    """Connection file, sockets, lock and logs; private to the user."""
    data_dir: Path
    """Takes, the audio behind them, uploaded sources and the request log; see blobs.py."""
    models_dir: Path
    """Each sub-folder with a model_config.json is a model, beside the embedded one."""
    hub_cache_dir: Path
    """Where huggingface_hub keeps what it downloads; published models are found there as well."""
    adapters_dir: Path
    """LoRA adapters: safetensors files, and PEFT folders."""
    engine_command: tuple[str, ...]
    """The command line that starts an engine: any program that speaks the engine link of docs/protocol.md."""
    ray: str
    """Address of a Ray cluster in which the engine is to stand, HOST:PORT or auto; empty: on this machine."""
    engine_at_start: bool
    """Start the engine with the daemon; otherwise with the first job."""
    preload: str
    """Model that an engine loads before its first job; empty loads none."""
    engine_threads: int
    """Threads the engine computes with. By default half the processors: a DAW needs the rest, and threads that
    fight another process for a core are many times slower than fewer threads that do not."""
    device: str
    """auto, cpu or cuda."""
    precision: str
    """auto (chosen for the device), fp32, bf16 or w8a8."""
    compile: bool
    """Compile the models: slower to load, faster to run."""
    memory_budget_mb: int
    """Weights the engine keeps in memory; beyond it the models used longest ago are unloaded. 0 is no limit."""
    idle_unload_seconds: int
    """End the engine, and so free its memory, when no job has run for so long. 0 is never."""
    engine_stall_seconds: int
    """Kill an engine that has reported nothing about its job for so long."""
    engine_cancel_seconds: int
    """Kill an engine that has not stopped a cancelled job after so long."""
    takes_budget_mb: int
    """What takes and audio may use on disk; beyond it the oldest unstarred takes are deleted. 0 is no limit."""
    max_queued_jobs: int
    """Jobs that may wait, over all clients."""
    listen: str
    """A further ZeroMQ endpoint for other machines, such as tcp://0.0.0.0:7070; empty is none."""
    allowed_clients: tuple[str, ...]
    """Public CURVE keys (Z85) that may come in over ``listen``; nobody else can."""
    log_level: str
    """debug, info, warning or error."""


def load_config(flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> DaemonConfig:
    """Read the configuration; later sources win: defaults, file, environment, flags.

    Raises InvalidField on an unknown key, naming the nearest one, and on a value of the wrong type.
    """
    environ = os.environ if environment is None else environment
    values = _defaults(environ) | _from_file(environ) | _from_environment(environ)
    values |= _checked(dict(flags or {}), "flag")
    values.setdefault("adapters_dir", values["data_dir"] / "adapters")
    values.setdefault("engine_command", RAY_ENGINE_COMMAND if values["ray"] else ENGINE_COMMAND)
    config = DaemonConfig(**values)
    _check_values(config)
    return config


def _check_values(config: DaemonConfig) -> None:
    """Raise InvalidField on the first value that cannot be used."""
    for key, least in LEAST.items():
        if getattr(config, key) < least:
            raise invalid(key, getattr(config, key), f"{least} or more")
    for key, choices in CHOICES.items():
        if getattr(config, key) not in choices:
            raise invalid(key, getattr(config, key), ", ".join(choices))
    if not config.engine_command:
        raise invalid("engine_command", config.engine_command, "a program and its arguments")
    if config.listen and not config.listen.startswith("tcp://"):
        raise invalid("listen", config.listen, "tcp://ADDRESS:PORT, or empty")
    if config.listen and not config.allowed_clients:
        raise invalid("allowed_clients", config.allowed_clients, "at least one public key when listen is set")
    for key in config.allowed_clients:
        if len(key) != CURVE_KEY_CHARS or not key.isascii():
            raise invalid("allowed_clients", key, f"public CURVE keys, {CURVE_KEY_CHARS} characters of Z85 each")


def environment_with(values: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with keys set, for a daemon that is to be configured otherwise."""
    return {**os.environ, **{f"SA3_{key.upper()}": text for key, text in values.items()}}


def set_variable(name: str, value: str) -> None:
    """Set a variable of this process's environment for a library that reads it; one that is set already stays."""
    os.environ.setdefault(name, value)


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
        "data_dir": _user_dir(environ, "XDG_DATA_HOME", ".local/share"),
        "models_dir": _user_dir(environ, "XDG_DATA_HOME", ".local/share") / "models",
        "hub_cache_dir": _hub_cache_dir(environ),
        "ray": "",
        "engine_at_start": True,
        "preload": "nano",
        "engine_threads": int(threads) if threads.isdecimal() and int(threads) else max(1, (os.cpu_count() or 1) // 2),
        "device": "auto",
        "precision": "auto",
        "compile": False,
        "memory_budget_mb": 0,
        "idle_unload_seconds": 1800,
        "engine_stall_seconds": 600,
        "engine_cancel_seconds": 60,
        "takes_budget_mb": 20_000,
        "max_queued_jobs": 1024,
        "listen": "",
        "allowed_clients": (),
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


def _hub_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return huggingface_hub's own choice, without importing it."""
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


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
