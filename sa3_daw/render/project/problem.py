"""What is wrong with a project, at which line of its file. Knows no file and no audio."""

from __future__ import annotations

from sa3_daw.errors import InvalidField


class Problem(InvalidField):
    """Something in a project that cannot be rendered; ``line`` is where the project asks for it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
