"""Lines are read from plain and gzipped text files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.text.lines import read_lines

TEXT = "\ufeffein Hund\r\nzwei\u2028Bälle\n\nund Schluss"
LINES = [(1, "ein Hund"), (2, "zwei\u2028Bälle"), (3, ""), (4, "und Schluss")]


def test_only_line_feeds_end_a_line_in_plain_and_gzipped_files(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_bytes(TEXT.encode())
    (tmp_path / "small.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    for name in ("plain.txt", "small.txt.gz"):
        assert list(read_lines(tmp_path / name)) == LINES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\ntwo\nthr\xe9e\n", r"a\.txt:3: byte 0xe9 is not UTF-8"),
        ("a.txt.gz", b"one\n", r"a\.txt\.gz: cannot be read \(Not a gzipped file"),
        (
            "a.txt.gz",
            gzip.compress(b"one\n" * 99, mtime=0)[:-9],
            r"a\.txt\.gz:99: cannot be read \(Compressed file ended",
        ),
        ("a.txt.gz", gzip.compress(b"one\n", mtime=0)[:10] + b"\xff" * 20, r"a\.txt\.gz: cannot be read \(Error -3"),
        ("a.txt", None, r"a\.txt: cannot be read \(No such file"),
    ],
)
def test_an_unreadable_file_is_reported_with_its_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_lines(tmp_path / name))
