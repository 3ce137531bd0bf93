"""Word vectors and their file formats: the text formats of word2vec and GloVe, and NumPy's .npz.

Text format:

    400000 300                   number of words and width; in word2vec and fastText, not in GloVe
    the 0.04656 0.21318 ...      a word and its numbers, separated by spaces

Arrays of an .npz file:

    words      (W,) strings
    vectors    (W, E) float32
"""

from __future__ import annotations

import gzip
import io
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.files.arrays import FLOATS, ArrayKind, read_npz
from captioning.files.atomic import replacing
from captioning.text.lines import read_lines

log = logging.getLogger(__name__)

_HEADER = re.compile("([0-9]{1,9}) ([0-9]{1,9}) ?")


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors.

    Attributes:
        words: W different words.
        vectors: (W, E) float32, finite.

    Raises:
        InputError: the numbers of words and vectors differ, a word is empty or occurs twice, or a number is not finite.
    """

    words: list[str]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.vectors.shape
        if len(shape) != 2 or len(self.words) != shape[0] or 0 in shape or self.vectors.dtype != np.float32:
            raise InputError(
                f"expected a float32 vector for each of {len(self.words)} words, found {self.vectors.dtype} {shape}"
            )
        if "" in self.row_of or len(self.row_of) != len(self.words):
            raise InputError(f"expected {len(self.words)} different words that are not empty, found {len(self.row_of)}")
        if bad := np.flatnonzero(~np.isfinite(self.vectors).all(axis=1)).tolist():
            raise InputError(
                f"{len(bad)} words have numbers that are not finite; the first word is '{shown(self.words[bad[0]])}'"
            )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def size(self) -> int:
        """Embedding width E."""
        return int(self.vectors.shape[1])

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def neighbours(self, word: str, k: int = 10) -> list[tuple[str, float]]:
        """Return the `k` nearest words by cosine similarity, with their cosines, nearest first.

        Raises:
            InputError: `word` has no vector.
        """
        if word not in self.row_of:
            raise InputError(
                f"no vector for '{shown(word)}'; choose one of the {len(self):,} words, such as {self._some()}"
            )
        own = self.row_of[word]
        lengths = np.linalg.norm(self.vectors, axis=1)
        cosines = self.vectors @ self.vectors[own] / np.maximum(lengths * lengths[own], np.finfo(np.float32).tiny)
        cosines[own] = -np.inf
        nearest = np.argsort(-cosines, kind="stable")[: min(k, len(self) - 1)]
        return [(self.words[row], float(cosines[row])) for row in nearest]

    def _some(self) -> str:
        return shown(", ".join(self.words[:5]))

    def write(self, path: str | Path) -> None:
        """Write an .npz file if the name ends in `.npz`, else word2vec's text, gzipped if the name ends in `.gz`.

        Raises:
            InputError: a word contains a space or a line feed, which the text format cannot hold; or the file cannot be
                written.
        """
        path = Path(path)
        if path.suffix == ".npz":
            content = io.BytesIO()
            np.savez(content, words=np.array(self.words), vectors=self.vectors)
            _write(path, content.getvalue())
            return
        if broken := [word for word in self.words if " " in word or "\n" in word]:
            raise InputError(
                f"{path}: {len(broken)} words contain spaces, the first is '{shown(broken[0])}'; write an .npz file"
            )
        lines = (f"{word} {' '.join(row.astype(str))}\n" for word, row in zip(self.words, self.vectors, strict=True))
        text = f"{len(self)} {self.size}\n{''.join(lines)}".encode()
        _write(path, gzip.compress(text) if path.suffix == ".gz" else text)

    @classmethod
    def read(cls, path: str | Path, *, only: Collection[str] | None = None) -> WordVectors:
        """Read an .npz file if the name ends in `.npz`, else text of word2vec or GloVe, plain or gzipped.

        Nothing is unpickled.

        Args:
            path: the file.
            only: the words to keep; None keeps all.

        Raises:
            InputError: the file cannot be read, is damaged, has another format, or has none of the words in `only`. The
                message names the file and line.
        """
        path = Path(path)
        words, vectors = _read_npz(path) if path.suffix == ".npz" else _read_text(path, only)
        if only is not None:
            rows = [row for row, word in enumerate(words) if word in only]
            words, vectors = [words[row] for row in rows], vectors[rows]
            if not words:
                raise InputError(
                    f"{path}: no vector for any of {len(only):,} words; check the language and case of the file"
                )
        try:
            return cls(words, vectors)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _read_npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    kinds = {"words": ArrayKind(("str",), dimensions=1), "vectors": ArrayKind(FLOATS, dimensions=2)}
    arrays = read_npz(path, kinds)
    if arrays.keys() != kinds.keys():
        raise InputError(
            f"{path}: expected the arrays 'words' (strings) and 'vectors' (numbers), found {', '.join(arrays)} alone"
        )
    if len(arrays["words"]) != len(arrays["vectors"]):
        raise InputError(
            f"{path}: expected a vector for each word, found {len(arrays['words'])} words and "
            f"{len(arrays['vectors'])} vectors"
        )
    try:
        words = arrays["words"].tolist()
        "".join(words).encode()
    except (UnicodeError, ValueError, SystemError) as error:
        raise InputError(f"{path}: 'words' is damaged: {shown(error)}; get the file again") from error
    with np.errstate(over="ignore"):  # values too large for float32 become infinite; WordVectors reports them
        return words, arrays["vectors"].astype(np.float32)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as new:
        new.write_bytes(content)


def _read_text(path: Path, only: Collection[str] | None) -> tuple[list[str], NDArray[np.float32]]:
    rows: dict[str, NDArray[np.float32]] = {}
    expected: int | None = None
    size = num_vectors = num_repeated = 0
    for number, line in read_lines(path):
        fields = line.rstrip(" ").split(" ")  # word2vec ends its lines with a space
        if number == 1 and _HEADER.fullmatch(line):
            expected, size = int(fields[0]), int(fields[1])
        elif fields != [""]:
            size = size or len(fields) - 1  # without a header, the first line's word is assumed to have no space
            where, num_vectors = f"{path}:{number}", num_vectors + 1
            word = _word(fields, size, where)
            if only is not None and word not in only:
                continue
            num_repeated += word in rows
            rows.setdefault(word, _numbers(fields[-size:], where))
    if expected not in (None, num_vectors):
        raise InputError(
            f"{path}: the first line announces {expected} vectors, found {num_vectors}; get the file again"
        )
    if not num_vectors:
        raise InputError(f"{path}: expected word vectors, found no vector")
    if num_repeated:
        log.warning("%s: %d vectors are ignored because their words already have one", path, num_repeated)
    return list(rows), np.array(list(rows.values()), dtype=np.float32).reshape(-1, size)


def _word(fields: list[str], size: int, where: str) -> str:
    """Return all fields except the last `size` as one word.

    If the last part of the word is a number, the line is refused, because it could be read in two ways.
    """
    parts = fields[:-size] if size else []
    if not any(parts) or (len(parts) > 1 and _is_number(parts[-1])):
        raise InputError(
            f"{where}: expected a word and {size or 'its'} numbers, found {len(fields)} fields: "
            f"{' '.join(fields)[:60]!r}; the file is truncated or not word vectors in text format"
        )
    return " ".join(parts)


def _numbers(fields: list[str], where: str) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            row = np.array([float(field) for field in fields], dtype=np.float32)
    except ValueError as error:
        raise InputError(
            f"{where}: expected {len(fields)} numbers after the word ({error}); correct this line"
        ) from error
    if not np.isfinite(row).all():
        raise InputError(f"{where}: a number is not finite or too large for float32; correct this line")
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
