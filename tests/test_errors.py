import pytest

from captioning.errors import InputError, shown


def test_a_short_readable_value_is_shown_as_it_is():
    assert shown("Straße/日本 1.jpg") == "Straße/日本 1.jpg"
    assert shown(17) == "17"
    assert shown("C:\\a") == "C:\\a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff", "\\udcff"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
    ],
)
def test_control_characters_are_shown_as_escapes(value: str, expected: str):
    assert shown(value) == expected


@pytest.mark.parametrize("value", ["a" * 100_000, "\n" * 100_000, "\x1b" * 79, ["x" * 1000], "b" * 81])
def test_a_long_value_is_shortened_to_the_limit(value: object):
    assert len(shown(value)) == 80
    assert len(shown(value, 20)) == 20


def test_a_shortened_value_keeps_its_start_and_end():
    assert shown("/start" + "x" * 1000 + "/end.jpg").startswith("/start")
    assert shown("/start" + "x" * 1000 + "/end.jpg").endswith("x/end.jpg")


def test_a_workers_error_shows_only_its_own_message():
    assert str(InputError("Traceback\ncaptioning.errors.InputError: no image\n")) == "no image"
