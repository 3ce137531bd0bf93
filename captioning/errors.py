"""The error for mistakes that a user can correct."""


class InputError(ValueError):
    """An input from the user is not as expected.

    The message says what was expected, what was found, where, and what to do. Commands print it without a traceback and
    exit with status 1.
    """

    def __str__(self) -> str:
        # torch re-raises a worker's error with the worker's whole traceback as message; keep only the last part.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")
