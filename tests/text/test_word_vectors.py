"""Word vectors are compared, written and read."""

from __future__ import annotations

import gzip
import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from captioning.errors import InputError
from captioning.text.word_vectors import WordVectors

PLANE = WordVectors(
    ["east", "north", "northeast", "far east", "west"],
    np.array([[1, 0], [0, 1], [1, 1], [9, 0.9], [-2, 0]], dtype=np.float32),
)


def read(tmp_path: Path, content: str | bytes, name: str = "v.txt", **settings: Any) -> WordVectors:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return WordVectors.read(tmp_path / name, **settings)


def rows(vectors: WordVectors) -> dict[str, list[float]]:
    return dict(zip(vectors.words, vectors.vectors.tolist(), strict=True))


# ---- use --------------------------------------------------------------------------------------------------------


def test_neighbours_are_ordered_by_cosine_at_any_length() -> None:
    found = PLANE.neighbours("east", 3)
    assert [word for word, _ in found] == ["far east", "northeast", "north"]
    assert [cosine for _, cosine in found] == pytest.approx([9 / np.hypot(9, 0.9), 0.5**0.5, 0], abs=1e-6)
    assert PLANE.neighbours("north", 99)[-1] == ("west", pytest.approx(0))
    assert len(PLANE.neighbours("north", 99)) == 4  # all but itself


def test_a_zero_vector_has_cosine_zero() -> None:
    vectors = WordVectors(["a", "b", "c"], np.array([[0, 0], [1, 0], [0, 0]], dtype=np.float32))
    assert vectors.neighbours("a", 2) == [("b", 0), ("c", 0)]


def test_a_word_without_a_vector_is_reported() -> None:
    with pytest.raises(InputError, match="no vector for 'south'; choose one of the 5 words, such as east, north"):
        PLANE.neighbours("south", 1)


@pytest.mark.parametrize(
    ("words", "vectors", "message"),
    [
        (["a", "b"], np.zeros((3, 2), np.float32), r"for each of 2 words, found float32 \(3, 2\)"),
        (["a"], np.zeros((1, 2)), "float64"),
        ([], np.zeros((0, 2), np.float32), "0 words"),
        (["a", "a"], np.zeros((2, 2), np.float32), "2 different words .* found 1"),
        (["a", ""], np.zeros((2, 2), np.float32), "that are not empty"),
        (["a", "b"], np.array([[0], [np.nan]], np.float32), "not finite; the first word is 'b'"),
    ],
)
def test_words_and_vectors_must_match(words: list[str], vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WordVectors(words, vectors)


# ---- files ------------------------------------------------------------------------------------------------------

letters = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=" \n\0"), min_size=1, max_size=5)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("name", ["v.npz", "v.vec", "v.vec.gz"])
@given(data=st.data())
def test_written_vectors_are_read_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, name: str, data: Any) -> None:
    words = data.draw(st.lists(letters, min_size=1, max_size=3, unique=True))
    vectors = WordVectors(words, data.draw(arrays(np.float32, (len(words), 3), elements=finite)))
    path = tmp_path_factory.getbasetemp() / name
    vectors.write(path)
    found = WordVectors.read(path)
    assert found.words == words
    assert found.vectors.tobytes() == vectors.vectors.tobytes()


def test_word2vec_s_text_has_a_header_and_glove_s_has_none(tmp_path: Path) -> None:
    expected = {"the": [0.5, -2], "dog": [0.25, 3]}
    assert rows(read(tmp_path, "2 2\nthe 0.5 -2 \ndog 25e-2 3 \n")) == expected
    assert rows(read(tmp_path, "the 0.5 -2\ndog 25e-2 3")) == expected
    assert rows(read(tmp_path, gzip.compress(b"the 0.5 -2\r\ndog 25e-2 3\r\n"), "v.gz")) == expected


def test_a_word_may_be_a_number_or_a_rare_separator(tmp_path: Path) -> None:
    assert list(rows(read(tmp_path, "7 0.5 2\n\x85 1 1\n\u00a0 1 2\n"))) == ["7", "\x85", "\u00a0"]


def test_a_word_may_contain_spaces_if_the_line_is_unambiguous(tmp_path: Path) -> None:
    assert rows(read(tmp_path, ". 1 2\n. . . 3 4\nat home 5 6\n")) == {".": [1, 2], ". . .": [3, 4], "at home": [5, 6]}
    with pytest.raises(InputError, match=r"v\.txt:2: expected a word and 2 numbers, found 4 fields: 'dog 3 4 5'"):
        read(tmp_path, ". 1 2\ndog 3 4 5\n")


def test_other_words_are_neither_kept_nor_parsed(tmp_path: Path) -> None:
    text = "3 2\nthe 1 2\ndog 3 four\ncat 5 6\n"
    assert rows(read(tmp_path, text, only={"cat", "the", "bird"})) == {"the": [1, 2], "cat": [5, 6]}
    PLANE.write(tmp_path / "v.npz")
    assert rows(WordVectors.read(tmp_path / "v.npz", only={"west", "x"})) == {"west": [-2, 0]}
    with pytest.raises(InputError, match=r"v\.npz: no vector for any of 1 words; check the language and case"):
        WordVectors.read(tmp_path / "v.npz", only={"West"})


def test_the_first_of_two_vectors_of_a_word_is_used_and_the_other_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert rows(read(tmp_path, "a 1 2\nb 3 4\na 5 6\n")) == {"a": [1, 2], "b": [3, 4]}
    assert "1 vectors are ignored because their words already have one" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 3\n", r"v\.txt:2: expected a word and 2 numbers, found 2 fields: 'b 3'"),
        ("a 1 2\nb 3 x\n", r"v\.txt:2: expected 2 numbers after the word .*'x'"),
        ("a 1 2\n 3 4\n", r"v\.txt:2: expected a word"),
        ("a 1 2\nb nan 2\n", r"v\.txt:2: a number is not finite"),
        ("a 1 2\nb 1e39 2\n", r"v\.txt:2: a number is not finite or too large for float32"),
        ("3 2\na 1 2\nb 3 4\n", r"v\.txt: the first line announces 3 vectors, found 2"),
        ("1 0\na\n", r"v\.txt:2: expected a word"),
        ("alone\n", r"v\.txt:1: expected a word and its numbers, found 1 fields"),
        ("a dog runs\n", r"v\.txt:1: expected 2 numbers after the word"),
        ("", r"v\.txt: expected word vectors, found no vector"),
        ("0 5\n", r"v\.txt: expected word vectors, found no vector"),
        (b"2 2\ndog \x80\x3f\xff\x00", r"v\.txt:2: byte 0x80 is not UTF-8"),
    ],
)
def test_a_damaged_text_file_is_reported_with_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_a_word_with_a_space_is_not_written_as_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 words contain spaces, the first is 'far east'; write an \.npz"):
        PLANE.write(tmp_path / "v.vec")
    assert not (tmp_path / "v.vec").exists()


def npz(**content: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


WORDS, VECTORS = np.array(["a", "b"]), np.ones((2, 3), np.float32)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_an_npz_with_objects_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    evil = np.array([Evil(tmp_path / "hacked"), "b"], dtype=object)
    with pytest.raises(InputError, match=r"array words holds object .2,., expected str") as refused:
        read(tmp_path, npz(words=evil, vectors=VECTORS), "v.npz")
    assert "allow_pickle" not in str(refused.value)  # NumPy would advise loading the pickle
    assert not (tmp_path / "hacked").exists()


def renamed(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("words.npy", member)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(words=WORDS), "the arrays"),
        (npz(words=WORDS, vectors=VECTORS)[:-40], "expected an .npz file"),
        (
            renamed(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999999,)}"),
            "expected an .npz file",
        ),
        (
            renamed(b"\x93NUMPY\x01\x00v\x00{'descr': '<U8', 'fortran_order': False, 'shape': (999999999999999,)}"),
            "expected an .npz file",
        ),
        (b"\x93NUMPY", "expected an .npz file"),
        (b"not a zip", "expected an .npz file"),
        (npz(words=WORDS, vectors=VECTORS[0]), r"array vectors holds float32 \(3,\), expected .* of 2 dimensions"),
        (npz(words=np.arange(2), vectors=VECTORS), "array words holds int64"),
        (npz(words=WORDS, vectors=VECTORS.astype(int)), "array vectors holds int64"),
        (npz(words=WORDS[:1], vectors=VECTORS), "found 1 words and 2 vectors"),
        (npz(words=WORDS, vectors=VECTORS.astype(float) * 1e39), "not finite; the first word is 'a'"),
        (npz(words=WORDS[[0, 0]], vectors=VECTORS), "2 different words .* found 1"),
    ],
)
def test_a_damaged_npz_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"v\.npz.*{message}"):
        read(tmp_path, content, "v.npz")


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in ("v.npz", "v.vec"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read.*No such file"):
            WordVectors.read(tmp_path / name)


def test_wider_floats_are_read_as_float32(tmp_path: Path) -> None:
    assert read(tmp_path, npz(words=WORDS, vectors=VECTORS.astype(float)), "v.npz").vectors.dtype == np.float32
