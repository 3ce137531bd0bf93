"""METEOR's data is read from pycocoevalcap, and damage is reported."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from pycocoevalcap.meteor import meteor as reference_meteor

from captioning.errors import InputError
from captioning.metrics.meteor_universal import resources
from captioning.metrics.meteor_universal.matching import MAX_PHRASE_WORDS


def write_table(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "paraphrase-en.gz").write_bytes(content)
    monkeypatch.setattr(reference_meteor, "__file__", str(folder / "meteor.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_the_table_keeps_the_order_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "0.1\nb\nz\n0.2\nb\na a\n0.3\na\nb\n0.4\nb\nm\n"
    write_table(tmp_path, gzip.compress(text.encode()), monkeypatch)
    for _ in range(2):  # from the file, and from the cache
        assert resources.paraphrase_table() == {b"b": b"z\na a\nm\n", b"a": b"b\n"}


def test_another_table_is_not_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for word in (b"b", b"c"):
        write_table(tmp_path, gzip.compress(b"0.1\na\n" + word + b"\n"), monkeypatch)
        assert resources.paraphrase_table() == {b"a": word + b"\n"}
    assert len(list((tmp_path / "cache" / "captioning").iterdir())) == 2


def test_the_table_is_read_in_chunks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_table(tmp_path, gzip.compress("0.1\nü b\nz\n0.2\nü b\na é\n0.3\na\nb\n".encode()), monkeypatch)
    file = tmp_path / "data" / "paraphrase-en.gz"
    whole = resources._table(file)
    for size in range(1, 40):
        monkeypatch.setattr(resources, "_CHUNK", size)
        assert resources._table(file) == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(b"0.5\nlarge dog\nbig hound\n" * 99, mtime=0)[:-12],
            "table is damaged .*install pycocoevalcap again",
        ),
        (b"0.5\nlarge dog\nbig hound\n", "table is damaged .*Not a gzipped file"),
        (
            gzip.compress(b"0.5\nlarge dog\nbig hound\n0.1\nlarge", mtime=0),
            "expected groups of three lines, found b'0.1.*large' at the end",
        ),
    ],
    ids=["truncated", "not gzipped", "not in threes"],
)
def test_a_damaged_table_is_reported(content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_table(tmp_path, content, monkeypatch)
    with pytest.raises(InputError, match=message):
        resources.paraphrase_table()


def test_a_damaged_jar_is_reported(copy_meteor: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    folder = copy_meteor("no jar")
    monkeypatch.setattr(reference_meteor, "__file__", str(folder / "meteor.py"))
    with pytest.raises(InputError, match=r"expected METEOR's function/klingon.words inside"):
        resources.word_list("function/klingon.words")
    (folder / "meteor-1.5.jar").write_text("not a jar")
    with pytest.raises(InputError, match="install pycocoevalcap again"):
        resources.word_list("function/english.words")


@pytest.mark.slow
def test_no_phrase_of_the_table_is_longer_than_max_phrase_words():
    table = resources.paraphrase_table()
    assert len(table) == 430_639
    assert sum(paraphrases.count(b"\n") for paraphrases in table.values()) == 5_274_084
    assert max(phrase.count(b" ") for phrase in table) < MAX_PHRASE_WORDS
    assert max(line.count(b" ") for lines in table.values() for line in lines.split(b"\n")) < MAX_PHRASE_WORDS
