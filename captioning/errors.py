"""Errors that a user can correct, the exception that a signal raises, and how messages show values and errors."""

from __future__ import annotations

import signal
import traceback


class InputError(ValueError):
    """An input from the user is not as expected.

    The message says what was expected, what was found, where, and what to do. Commands print it without a traceback and
    exit with status 1.
    """

    def __str__(self) -> str:
        # torch re-raises a worker's error with the worker's whole traceback as message; keep only the last part.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")


class Stopped(BaseException):
    """A signal asks this process to end. It is no Exception, so that only commands catch it.

    Args:
        number: the signal's number.
        advice: what to do next, for the message.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.number, self.advice = number, advice

    @property
    def status(self) -> int:
        """The exit status, as shells define it."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}{self.advice}"


def shown(value: object, limit: int = 80) -> str:
    """Shorten and escape a value for a message, so that it takes one line of readable text.

    Args:
        value: anything; `str(value)` is shown.
        limit: most characters of the result. A longer text loses its middle, so that the end of a path stays.

    Returns:
        The text without control characters, line feeds, lone surrogates and marks that change the direction of writing;
        each of these stands as Python's escape.
    """
    text = str(value)
    if len(text) > 2 * limit:  # a value may have megabytes: escape no more than is shown
        text = text[:limit] + text[-limit:]
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    end = limit // 3
    return text if len(text) <= limit else f"{text[: limit - 3 - end]}...{text[-end:]}"


def described(error: BaseException) -> str:
    """Describe an error of other code in one line: its type, its message and where it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<frozen" not in frame.filename]
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    else:
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    return f"{type(error).__name__}: {shown(message, 200)}{where}"
