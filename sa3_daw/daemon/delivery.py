"""A job's way to its clients: what there is to deliver, in order, and how far each client has come. Knows no socket.

The log is kept once per job, its audio on disk; each client has its own place in it, its own credit and event numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.messages import TERMINAL, Audio, Finished, Message, Take

Frames = list[bytes]


@dataclass(frozen=True)
class Entry:
    """One event that waits its turn; ``read`` fetches the audio of an ``audio``."""

    message: Audio | Take | Finished
    read: Callable[[], bytes] | None = None


class JobLog:
    """All audio, takes and the good end of one job, oldest first."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._final_begun: set[int] = set()
        self._fresh: tuple[int, bytes] = (-1, b"")

    def add(self, entry: Entry, buffer: bytes = b"") -> None:
        """Append an event. ``buffer``, its audio, is at hand until the next ``add`` or ``settle``."""
        if isinstance(entry.message, Audio) and not entry.message.draft:
            self._final_begun.add(entry.message.variation)
        self._fresh = (len(self.entries), buffer)
        self.entries.append(entry)

    def settle(self) -> None:
        """Let go of the latest audio: from now on it is read back."""
        self._fresh = (-1, b"")

    def buffer(self, index: int) -> bytes | None:
        """Return the audio of an entry, None when it has none."""
        read = self.entries[index].read
        if read is None:
            return None
        return self._fresh[1] if self._fresh[0] == index else read()

    def is_obsolete(self, index: int) -> bool:
        """Tell whether an entry is draft audio that final audio has replaced."""
        message = self.entries[index].message
        return isinstance(message, Audio) and message.draft and message.variation in self._final_begun


class Delivery:
    """One client's place in a job's log. Audio goes while credit lasts; what is not in the log goes at once."""

    def __init__(self, job_id: str, log: JobLog, credit: int, max_credit: int) -> None:
        self._job_id = job_id
        self._log = log
        self._max_credit = max_credit
        self._credit = min(credit, max_credit)
        self._next = 0
        self._seq = 0
        self.ended = False

    def tell(self, message: Message) -> Frames:
        """Return the frames of an event that does not wait its turn."""
        assert not self.ended
        return self._frames(message, None)

    def grant(self, num_chunks: int) -> None:
        """Take credit for more chunks."""
        self._credit = min(self._credit + num_chunks, self._max_credit)

    def due(self) -> Iterator[Frames]:
        """Yield the frames of all that may go now. Raises OSError when audio cannot be read back."""
        while not self.ended and self._next < len(self._log.entries):
            index = self._next
            message = self._log.entries[index].message
            if self._log.is_obsolete(index):
                self._next += 1
                continue
            if isinstance(message, Audio):
                if not self._credit:
                    return
                self._credit -= 1
            self._next += 1
            yield self._frames(message, self._log.buffer(index))

    def _frames(self, message: Message, buffer: bytes | None) -> Frames:
        self._seq += 1
        self.ended = isinstance(message, TERMINAL)
        return encode(message, job=self._job_id, seq=self._seq - 1, buffer=buffer)
