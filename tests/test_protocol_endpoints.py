"""Where a daemon is found: private files, stale files, the lock, socket paths of any length."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sa3_daw.errors import DaemonUnreachable, RequestError
from sa3_daw.protocol.endpoints import (
    CONNECTION_FILE,
    MAX_IPC_PATH_BYTES,
    Connection,
    DaemonLock,
    IpcDir,
    ensure_private_dir,
    may_be_alive,
    read_connection,
    write_connection,
)

HERE = Connection(1, "0", os.getpid(), "ipc://x", "tcp://127.0.0.1:1", "a", "b", "c")
ENDED_PID = 2**22 + 5
"""Above the largest process id Linux gives out."""


def test_the_connection_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    before = os.umask(0)
    try:
        ensure_private_dir(directory)
        write_connection(directory, HERE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / CONNECTION_FILE).stat().st_mode) == 0o600
    assert read_connection(directory) == HERE
    assert [path.name for path in directory.iterdir()] == [CONNECTION_FILE]


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ensure_private_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_connection_file_others_can_read_is_not_trusted(tmp_path: Path) -> None:
    write_connection(tmp_path, HERE)
    (tmp_path / CONNECTION_FILE).chmod(0o644)
    with pytest.raises(DaemonUnreachable, match="others may read it"):
        read_connection(tmp_path)


def test_a_dead_daemons_file_is_stale(tmp_path: Path) -> None:
    write_connection(tmp_path, Connection(1, "0", ENDED_PID, "", "", "", "", ""))
    with pytest.raises(DaemonUnreachable, match=r"has ended.*sa3-daw serve"):
        read_connection(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_broken_file_is_unreachable_and_not_a_crash(tmp_path: Path, content: str) -> None:
    path = tmp_path / CONNECTION_FILE
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(DaemonUnreachable, match="cannot be read"):
        read_connection(tmp_path)


def test_no_file_says_how_to_start_a_daemon(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="sa3-daw serve"):
        read_connection(tmp_path)


def test_a_second_lock_names_the_holder_and_a_released_one_is_free(tmp_path: Path) -> None:
    first, second = DaemonLock(tmp_path), DaemonLock(tmp_path)
    first.acquire()
    with pytest.raises(RequestError, match=f"process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_runtime_directory_that_cannot_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="SA3_RUNTIME_DIR"):
        ensure_private_dir(tmp_path / "file" / "run")


def test_socket_paths_stay_short_in_a_long_runtime_directory(tmp_path: Path) -> None:
    long_dir = tmp_path / ("d" * 120)
    ensure_private_dir(long_dir)
    ipc = IpcDir(long_dir)
    path = Path(ipc.endpoint("daemon.sock").removeprefix("ipc://"))
    assert len(os.fsencode(path)) <= MAX_IPC_PATH_BYTES
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    ipc.close()
    assert not path.parent.exists() and long_dir.exists()


def test_processes_are_told_apart_from_nonsense() -> None:
    assert may_be_alive(os.getpid())
    assert not may_be_alive(ENDED_PID)
    assert not may_be_alive(2**80)
