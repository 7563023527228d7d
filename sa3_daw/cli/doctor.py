"""`sa3-daw doctor`: what is wrong on this machine, each finding with its mend. Knows what a healthy one looks like."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sa3_daw import __version__
from sa3_daw.catalogue import find_model, model_folders
from sa3_daw.cli.overview import megabytes
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.errors import DaemonUnreachable, Sa3Error
from sa3_daw.models.specs import is_autoencoder, read_config
from sa3_daw.protocol.endpoints import CONNECTION_FILE, DAEMON_LOG, ENGINE_LOG, MAX_IPC_PATH_BYTES, read_connection
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.published import PUBLISHED
from sa3_daw.weight_files import open_weights

GOOD, NOTE, BROKEN = "good", "note", "broken"
STYLES = {GOOD: "green", NOTE: "yellow", BROKEN: "red"}
PACKAGES = ("torch", "numpy", "pyzmq", "msgpack", "msgspec", "safetensors", "tokenizers", "soundfile", "soxr", "rich")
FREE_BYTES = 2 << 30
"""Disk space below this is worth knowing: a minute of four variations is 0.1 GB, a published model up to 10 GB."""
LEAST_FREE_BYTES = 200 << 20
PROBE_SECONDS = 120.0
PRIVATE_MODE = 0o700


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``state`` is good, note (works, but worth knowing) or broken; ``mend`` says what to do."""

    state: str
    what: str
    mend: str = ""


def run(arguments: argparse.Namespace) -> int:
    """Look at everything; exit code 1 when something is broken."""
    console = Console(highlight=False, soft_wrap=True)
    states = set()
    for finding in findings():
        states.add(finding.state)
        if arguments.json:
            print(json.dumps(asdict(finding)), flush=True)
            continue
        console.print(Text.assemble((f"{finding.state:<7}", STYLES[finding.state]), finding.what))
        if finding.mend:
            console.print(f"{'':<7}mend: {finding.mend}", markup=False)
    if not arguments.json:
        told = (
            "something is broken" if BROKEN in states else "all works" + (", see the notes" if NOTE in states else "")
        )
        print(f"\n{told}")
    return 1 if BROKEN in states else 0


def findings() -> Iterator[Finding]:
    """Yield one finding after another, the foundations first."""
    yield from packages()
    yield from device()
    yield from sound()
    try:
        config = load_config()
    except Sa3Error as error:
        yield Finding(BROKEN, f"configuration: {error.message}", "correct the key in the file or the variable named")
        return
    checks: tuple[Callable[[DaemonConfig], Iterator[Finding]], ...] = (folders, sockets, disk, models, daemon)
    for check in checks:
        yield from check(config)


def packages() -> Iterator[Finding]:
    mend = f"{sys.executable} -m pip install -e . (in the checkout), or ./sa3, which makes its own environment"
    missing = [name for name in PACKAGES if not is_installed(name)]
    python = f"sa3-daw {__version__}, Python {sys.version.split()[0]}"
    if missing:
        yield Finding(BROKEN, f"{python}: {', '.join(missing)} not installed", mend)
    else:
        yield Finding(GOOD, f"{python}: all {len(PACKAGES)} packages it needs are installed")


def device() -> Iterator[Finding]:
    """Start Python with torch in a process of its own: a broken build may take the process with it."""
    mend = f"{sys.executable} -m pip install --force-reinstall torch, for this machine's processor or GPU"
    command = [sys.executable, "-m", "sa3_daw.engine.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        facts = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, OSError, ValueError, IndexError) as error:
        yield Finding(BROKEN, f"torch does not start: {type(error).__name__}", mend)
        return
    if not facts or not facts["computes"]:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        yield Finding(BROKEN, f"torch does not compute: {last[0]}", mend)
        return
    name = f" ({facts['name']}, {megabytes(facts['free_bytes'])} free)" if facts["name"] else ""
    yield Finding(GOOD, f"torch {facts['torch']} computes on {facts['device']}{name}")
    if facts["device"] == "cpu" and shutil.which("nvidia-smi"):
        yield Finding(NOTE, "an NVIDIA driver is here, but torch does not see a GPU", "install torch's CUDA build")


def sound() -> Iterator[Finding]:
    try:
        sounddevice = import_module("sounddevice")
    except OSError:
        mend = "Debian, Ubuntu: sudo apt-get install libportaudio2 (only --play needs it)"
        yield Finding(NOTE, "PortAudio is not installed: --play is silent", mend)
        return
    outputs = [entry["name"] for entry in sounddevice.query_devices() if entry["max_output_channels"] > 0]
    if outputs:
        yield Finding(GOOD, f"sound: {len(outputs)} output devices")
    else:
        yield Finding(NOTE, "no audio output device: --play is silent", "connect one; files are written all the same")


def folders(config: DaemonConfig) -> Iterator[Finding]:
    for key, what in (("runtime_dir", "runtime folder"), ("data_dir", "data folder")):
        path: Path = getattr(config, key)
        variable = f"set SA3_{key.upper()} to a folder of your own"
        parent = next(folder for folder in (path, *path.parents) if folder.exists())
        if not parent.is_dir():
            yield Finding(BROKEN, f"{what} {path}: {parent} is not a folder", variable)
        elif not os.access(parent, os.W_OK | os.X_OK):
            yield Finding(BROKEN, f"{what} {path} cannot be written", variable)
        elif key == "runtime_dir" and os.name == "posix" and path.exists() and path.stat().st_uid != os.geteuid():
            yield Finding(BROKEN, f"{what} {path} belongs to another user", variable)
        elif key == "runtime_dir" and os.name == "posix" and path.exists() and too_open(path):
            yield Finding(
                NOTE, f"{what} {path} is open to others; a daemon closes it at its start", f"chmod 700 {path}"
            )
        else:
            yield Finding(GOOD, f"{what} {path}" + ("" if path.exists() else " (made when it is needed)"))


def too_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & ~PRIVATE_MODE)


def sockets(config: DaemonConfig) -> Iterator[Finding]:
    zmq = import_module("zmq")
    if not zmq.has("curve"):
        mend = f"{sys.executable} -m pip install --force-reinstall pyzmq: its own wheels have it"
        yield Finding(BROKEN, "this pyzmq has no CURVE: connections could not be encrypted", mend)
    elif zmq.has("ipc") and len(os.fsencode(config.runtime_dir / "engine-9999.sock")) > MAX_IPC_PATH_BYTES:
        temporary = tempfile.gettempdir()
        yield Finding(NOTE, f"the runtime folder's name is too long for sockets: they will lie in {temporary}")
    else:
        yield Finding(
            GOOD,
            f"sockets: ZeroMQ {zmq.zmq_version()} with CURVE"
            + (", local ones in the runtime folder" if zmq.has("ipc") else ""),
        )


def disk(config: DaemonConfig) -> Iterator[Finding]:
    place = next(folder for folder in (config.data_dir, *config.data_dir.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    what = f"{megabytes(free)} free where takes are kept ({config.data_dir})"
    mend = "free some, set SA3_DATA_DIR to another disk, or: sa3-daw takes gc --budget-mb 1000"
    if free < LEAST_FREE_BYTES:
        yield Finding(BROKEN, what, mend)
    elif free < FREE_BYTES:
        yield Finding(NOTE, what, mend)
    else:
        yield Finding(GOOD, what)


def models(config: DaemonConfig) -> Iterator[Finding]:
    found = model_folders(config)
    for name, directory in found.items():
        try:
            if not is_autoencoder(read_config(directory, name)):
                find_model(name, config)
            files = open_weights(directory)
            num_bytes = sum(file.path.stat().st_size for file in files)
        except (Sa3Error, OSError) as error:
            words = error.message if isinstance(error, Sa3Error) else str(error)
            mend = f"sa3-daw models verify {name} tells more; sa3-daw models pull {name} fetches it anew"
            yield Finding(BROKEN, f"model {name}: {words}", mend)
            continue
        yield Finding(GOOD, f"model {name}: {len(files)} files, {megabytes(num_bytes)}")
    if set(found) & set(PUBLISHED) and not is_installed("transformers"):
        yield Finding(BROKEN, "published models need transformers", f"{sys.executable} -m pip install transformers")


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def daemon(config: DaemonConfig) -> Iterator[Finding]:
    from sa3_daw.client import Client

    logs = f"see {config.runtime_dir / DAEMON_LOG} and {config.runtime_dir / ENGINE_LOG}"
    file = config.runtime_dir / CONNECTION_FILE
    if not file.exists():
        yield Finding(GOOD, "no daemon runs; the first job starts one")
        return
    try:
        read_connection(config.runtime_dir)
    except DaemonUnreachable as error:
        yield Finding(NOTE, f"stale connection file: {error.message}", f"rm {file}; any job, too, replaces it")
        return
    try:
        with Client.connect(autostart=False) as client:
            hello, status = client.hello(), client.status()
    except Sa3Error as error:
        yield Finding(BROKEN, error.message, f"end that process, then try again; {logs}")
        return
    if (hello.daemon_version, hello.protocol_version) != (__version__, PROTOCOL_VERSION):
        said = f"the daemon that runs is version {hello.daemon_version}, this is {__version__}"
        yield Finding(NOTE, said, "sa3-daw stop; the next job starts the new one")
    yield Finding(GOOD, f"the daemon answers: process {hello.pid}, engine {status.engine.state}")
    for model in status.engine.models:
        reason = f": {model.precision_reason}" if model.precision_reason else ""
        yield Finding(GOOD, f"{model.name} is loaded on {model.device} in {model.precision}{reason}")
    if status.engine.num_deaths:
        yield Finding(NOTE, f"its engine has ended unasked {status.engine.num_deaths} times", logs)
    if status.store.problem:
        yield Finding(BROKEN, f"takes cannot be stored: {status.store.problem}", f"mend {config.data_dir}; {logs}")
