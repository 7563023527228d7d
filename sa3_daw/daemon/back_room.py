"""Slow work on files, done in order by one thread behind the front's loop. Knows no take and no client."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class BackRoom:
    """Tasks go in, what follows them is done in the thread that calls ``settle``; ``wake`` tells when."""

    def __init__(self) -> None:
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)
        self._tasks: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._num_open = 0
        self._thread = Thread(target=self._work, name="back-room", daemon=True)
        self._thread.start()

    def do(self, task: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Do ``task`` behind; ``then`` is called with what it returned, or with its error."""

        def run() -> Callable[[], None]:
            try:
                result: T | Exception = task()
            except Exception as error:
                log.exception("work behind the front has failed")
                result = error
            return lambda: then(result)

        self._num_open += 1
        self._tasks.put(run)

    def settle(self) -> None:
        """Do what follows the tasks that are done."""
        with suppress(BlockingIOError):
            self.wake.recv(4096)
        while self._done:
            self._num_open -= 1
            self._done.popleft()()

    def close(self) -> None:
        """Wait for every task, do what follows them, and end."""
        self._tasks.put(None)
        self._thread.join()
        self.settle()
        assert not self._num_open
        self.wake.close()
        self._waker.close()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._done.append(task())
            with suppress(BlockingIOError):  # full of calls that nobody has heard yet: one more says nothing new
                self._waker.send(b"!")
