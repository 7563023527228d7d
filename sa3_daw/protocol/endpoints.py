"""Where a daemon is found: the runtime directory, its lock, and the connection file. Knows no socket and no message.

Everything here is readable by its owner only: the connection file holds the keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from sa3_daw.errors import DaemonUnreachable, RequestError

CONNECTION_FILE = "connection.json"
LOCK_FILE = "daemon.lock"
DAEMON_LOG = "daemon.log"
ENGINE_LOG = "engine.log"

MAX_IPC_PATH_BYTES = 100
"""A Unix socket's path holds 107 bytes on Linux, 103 on macOS."""

START_COMMAND = "sa3-daw serve"


@dataclass(frozen=True)
class Connection:
    """How to reach one daemon. ``ipc`` is empty where ZeroMQ has none. Keys are CURVE keys in Z85."""

    protocol_version: int
    daemon_version: str
    pid: int
    ipc: str
    tcp: str
    server_key: str
    client_public_key: str
    client_secret_key: str


def ensure_private_dir(directory: Path) -> None:
    """Create a directory that only its owner may enter. Raises RequestError when it belongs to someone else."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix":
            if directory.stat().st_uid != os.geteuid():
                raise RequestError(
                    f"{directory} belongs to another user; set SA3_RUNTIME_DIR to a directory of your own",
                    field="runtime_dir",
                    value=str(directory),
                )
            directory.chmod(0o700)
    except OSError as error:
        raise RequestError(
            f"cannot use {directory} as runtime directory: {error}; set SA3_RUNTIME_DIR to another one",
            field="runtime_dir",
            value=str(directory),
        ) from error


def write_connection(directory: Path, connection: Connection) -> None:
    """Write the connection file, mode 0600, in one step: a reader sees the old one, the whole new one, or none."""
    path = directory / CONNECTION_FILE
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(connection), file, indent=1)
    os.replace(part, path)


def read_connection(directory: Path) -> Connection:
    """Read the connection file. Raises DaemonUnreachable when there is none, it is stale, or cannot be trusted."""
    path = directory / CONNECTION_FILE
    try:
        if os.name == "posix":
            check_owned(path)
        content = json.loads(path.read_text("utf-8"))
        connection = Connection(**{field.name: content[field.name] for field in fields(Connection)})
    except FileNotFoundError:
        raise unreachable(f"no daemon runs (no {path})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreachable(f"{path} cannot be read: {error}") from error
    if not may_be_alive(connection.pid):
        raise unreachable(f"the daemon of {path} (process {connection.pid}) has ended")
    return connection


def another_starts(directory: Path, pid: int) -> bool:
    """Tell whether a daemon other than process ``pid`` holds the directory's lock, ready or not."""
    try:
        holder = int((directory / LOCK_FILE).read_text("ascii"))
    except (OSError, ValueError):
        return False
    return holder != pid and may_be_alive(holder)


def remove_connection(directory: Path) -> None:
    """Remove the connection file, if it is there."""
    (directory / CONNECTION_FILE).unlink(missing_ok=True)


def check_owned(path: Path) -> None:
    """Raise PermissionError unless the file is ours and nobody else may read or write it."""
    found = path.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError("it belongs to another user or others may read it")


def unreachable(reason: str) -> DaemonUnreachable:
    """Return the error that says why no daemon answers and how to start one."""
    return DaemonUnreachable(f"{reason}. Start one with: {START_COMMAND}", allowed=START_COMMAND)


def may_be_alive(pid: int) -> bool:
    """Tell whether a process of that number exists. Windows cannot be asked so cheaply: there, always True."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except (OverflowError, TypeError, ValueError):
        return False
    return True


class DaemonLock:
    """The one lock per runtime directory. The system frees it when its process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock. Raises RequestError naming the daemon that holds it."""
        file = open(self._path, "a+b")  # noqa: SIM115 (held for the daemon's life)
        try:
            _lock(file)
        except OSError:
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            file.close()
            raise RequestError(
                f"a daemon already runs in {self._path.parent} (process {holder}); end it with: sa3-daw stop",
                field="runtime_dir",
                value=str(self._path.parent),
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two daemons lock two files."""
        if self._file is not None:
            self._file.close()
            self._file = None


if os.name == "nt":
    import msvcrt

    LOCKED_BYTE = 1 << 30
    """Far behind the content, because Windows forbids others to read a locked byte."""

    def _lock(file: IO[bytes]) -> None:
        file.seek(LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class IpcDir:
    """A 0700 directory whose socket paths are short enough: the runtime directory itself, or a temporary one."""

    def __init__(self, runtime_dir: Path) -> None:
        self._temporary: Path | None = None
        self.path = runtime_dir
        if len(os.fsencode(runtime_dir / "engine-9999.sock")) > MAX_IPC_PATH_BYTES:
            parent = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) < 60 else "/tmp"
            self._temporary = Path(tempfile.mkdtemp(prefix="sa3-", dir=parent))
            self.path = self._temporary

    def endpoint(self, name: str) -> str:
        """Return the ipc endpoint of a socket of that name."""
        return f"ipc://{self.path / name}"

    def close(self) -> None:
        """Remove what was made."""
        for left in self.path.glob("*.sock"):
            with contextlib.suppress(OSError):
                left.unlink()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
