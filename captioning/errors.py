"""The error for mistakes that a user can correct."""


class InputError(ValueError):
    """An input from the user is not as expected.

    The message says what was expected, what was found, where, and what to do. Commands print it without a traceback and
    exit with status 1.
    """

    def __str__(self) -> str:
        # torch raises a worker's error again with the worker's traceback as its message.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")
