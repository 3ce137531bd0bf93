"""The error for mistakes that a user can correct, and how its message shows a value."""


class InputError(ValueError):
    """An input from the user is not as expected.

    The message says what was expected, what was found, where, and what to do. Commands print it without a traceback and
    exit with status 1.
    """

    def __str__(self) -> str:
        # torch re-raises a worker's error with the worker's whole traceback as message; keep only the last part.
        return super().__str__().rpartition(f"{__name__}.InputError: ")[2].rstrip("\n")


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
