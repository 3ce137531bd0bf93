"""The error that a user can cause and mend."""


class InputError(ValueError):
    """Something given from outside is not as expected.

    The message says what was expected, what was found, where, and what to do; commands print it
    without a traceback and exit with 1.
    """
