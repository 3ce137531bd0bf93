"""Sentences and their translations in line-parallel files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from captioning.data import Splits
from captioning.data.readers.parallel import ParallelText, read_parallel
from captioning.errors import InputError

GERMAN, ENGLISH = "Ein Hund.\n\nZwei Männer reden.\n", "A dog.\n\nTwo men talk.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train.de").write_text(GERMAN, encoding="utf-8")
    (tmp_path / "train.en.gz").write_bytes(gzip.compress(ENGLISH.encode()))
    (tmp_path / "test_2016_flickr.en.gz").write_bytes(gzip.compress(ENGLISH.encode()))
    return tmp_path


def test_a_line_is_a_sentence_and_its_translation(root: Path) -> None:
    first, second = read_parallel(root, "train", source="de", target="en")
    assert (first.image_id, first.text, first.captions) == (1, "Ein Hund.", ("A dog.",))
    assert (second.image_id, second.text, second.captions) == (3, "Zwei Männer reden.", ("Two men talk.",))


def test_one_language_is_read_by_itself(root: Path) -> None:
    sentences = read_parallel(root, "train", source=None, target="en")
    assert [(image.text, *image.captions) for image in sentences] == [("", "A dog."), ("", "Two men talk.")]


def test_a_split_is_known_by_the_beginning_of_its_files_names(root: Path) -> None:
    assert len(read_parallel(root, "test", source=None, target="en")) == 2
    (root / "test_2017.en").write_text("A cat.\n")
    assert len(read_parallel(root, "test_2017", source=None, target="en")) == 1
    with pytest.raises(InputError, match=r"found test_2016_flickr\.en\.gz, test_2017\.en"):
        read_parallel(root, "test", source=None, target="en")


def test_a_line_that_is_empty_in_one_language_alone_is_kept(root: Path) -> None:
    (root / "train.cs").write_text("Pes.\nPrázdný.\nDva muži.\n", encoding="utf-8")
    assert [image.text for image in read_parallel(root, "train", source="cs", target="en")] == [
        "Pes.",
        "Prázdný.",
        "Dva muži.",
    ]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("train.fr", b"Un chien.\n", r"train\.fr has 1 lines, and the \.en file has 3"),
        ("train.fr", "Un été.\n".encode("latin-1"), r"train\.fr:1: byte 0xe9 is not UTF-8"),
        ("train.fr.gz", b"no gzip", r"train\.fr\.gz: cannot be read"),
        ("train.fr.gz", gzip.compress(ENGLISH.encode(), mtime=0)[:-9], r"train\.fr\.gz.*: cannot be read"),
        ("other", b"", r"expected one of train\.fr and train\.fr\.gz in .*, found none"),
    ],
)
def test_files_that_do_not_fit_are_named(root: Path, name: str, content: bytes, complaint: str) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_parallel(root, "train", source="fr", target="en")


def test_the_name_of_a_data_set_contains_its_languages(root: Path) -> None:
    data = Splits(ParallelText(str(root), source="de", target="en", corpus="multi30k"))
    assert data.name == "multi30k-de-en"
    assert data.texts("train") == ["Ein Hund.", "Zwei Männer reden."]
    assert data.references("train") == {1: ("A dog.",), 3: ("Two men talk.",)}


@pytest.mark.shared
def test_multi30k_is_read_whole(shared: Path) -> None:
    for split, count in (("train", 29_000), ("val", 1_014), ("test", 1_000)):
        for source in ("de", "cs", "fr"):
            assert len(read_parallel(shared / "data" / "multi30k", split, source=source, target="en")) == count
