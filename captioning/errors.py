"""The error for mistakes that a user can correct, and words for errors of a user's own code."""

from __future__ import annotations

import traceback


class InputError(ValueError):
    """An input from the user is not as expected.

    The message says what was expected, what was found, where, and what to do. Commands print it without a traceback and
    exit with status 1.
    """

    def __str__(self) -> str:
        # torch re-raises a worker's error with the worker's whole traceback as message; keep only the last part.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")


def described(error: BaseException) -> str:
    """Describe an error of other code in one line: its type, its message and where it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<frozen" not in frame.filename]
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    else:
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    return f"{type(error).__name__}: {message[:200]}{where}"
