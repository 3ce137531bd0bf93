"""The error that a user can cause and mend."""


class InputError(ValueError):
    """Something given from outside is not as expected.

    The message says what was expected, what was found, where, and what to do; commands print it
    without a traceback and exit with 1.
    """

    def __str__(self) -> str:
        # What a worker process raises, torch raises again with the worker's traceback as the message.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")
