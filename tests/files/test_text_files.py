"""Whole text files: byte order marks, line ends, and bytes that are no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.text_files import read_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"caf\xc3\xa9\r\nb", "café\r\nb"),
        (b"\xef\xbb\xbfa\nb", "a\nb"),
        (b"a\rb", "a\nb"),
        (b"a\r\nb\rc", "a\r\nb\rc"),
    ],
)
def test_a_file_is_read_in_utf_8_with_its_own_line_ends(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read_text(tmp_path / "a.txt") == text


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"a\.txt:2: byte 0xe9 is not UTF-8; save the file as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_a_missing_file_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: cannot be read"):
        read_text(tmp_path / "a.txt")
