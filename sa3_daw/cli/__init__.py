"""The command `sa3-daw`: reads arguments, calls one function, turns errors into one sentence. Knows no audio."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sa3_daw.cli.words import BAD_INPUT, FAILURE, INTERRUPTED
from sa3_daw.errors import RequestError, Sa3Error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 when something failed, 2 for bad input, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # Here and not above: until this line Ctrl-C shows Python's own traceback, so as little as can be is before it.
        from sa3_daw.cli.parser import build_parser

        parser = build_parser()
        if not words:
            parser.print_help()
            return 0
        parsed = parser.parse_args(words)
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except RequestError as error:
        return complain(error.message, BAD_INPUT)
    except Sa3Error as error:
        return complain(error.message, FAILURE)
    except BrokenPipeError:
        # The reader (head, less) went away; Python's own flush at exit must not find the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return complain(sentence, BAD_INPUT if isinstance(error, (FileNotFoundError, IsADirectoryError)) else FAILURE)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)


def complain(sentence: str, code: int) -> int:
    print(f"sa3-daw: {sentence}", file=sys.stderr)
    return code
