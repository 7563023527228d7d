"""One job's way back to its client: event numbers, credit, audio held until it is wanted. Knows no socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.messages import TERMINAL, Audio, Cancelled, Failed, Finished, Message, Take

Frames = list[bytes]


class Delivery:
    """Turns a job's events into frames that may go now.

    Audio goes while credit lasts; ``finished`` follows the last audio; everything else goes at once, and
    ``failed`` or ``cancelled`` drops what is held.
    """

    def __init__(self, job_id: str, credit: int, max_credit: int) -> None:
        self._job_id = job_id
        self._max_credit = max_credit
        self._credit = min(credit, max_credit)
        self._held: deque[tuple[Audio | Take | Finished, bytes | None]] = deque()
        self._seq = 0
        self.held_bytes = 0
        self.ended = False

    def offer(self, message: Message, buffer: bytes | None = None) -> list[Frames]:
        """Take one event of the job; return the frames of all that may go now."""
        assert not self.ended
        if isinstance(message, Audio | Take | Finished):
            self._held.append((message, buffer))
            self.held_bytes += len(buffer or b"")
            return list(self._release())
        if isinstance(message, Failed | Cancelled):
            self._held.clear()
            self.held_bytes = 0
        return [self._frames(message, None)]

    def grant(self, num_chunks: int) -> list[Frames]:
        """Take credit for more chunks; return the frames that may go now."""
        self._credit = min(self._credit + num_chunks, self._max_credit)
        return list(self._release())

    def _release(self) -> Iterator[Frames]:
        while self._held and (self._credit or not isinstance(self._held[0][0], Audio)):
            message, buffer = self._held.popleft()
            if isinstance(message, Audio):
                self._credit -= 1
            self.held_bytes -= len(buffer or b"")
            yield self._frames(message, buffer)

    def _frames(self, message: Message, buffer: bytes | None) -> Frames:
        self._seq += 1
        self.ended = isinstance(message, TERMINAL)
        return encode(message, job=self._job_id, seq=self._seq - 1, buffer=buffer)
