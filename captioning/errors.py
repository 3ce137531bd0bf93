"""The error for mistakes that a user can correct, and the end that a signal asks for."""

from __future__ import annotations

import signal


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
