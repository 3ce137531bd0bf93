"""Read METEOR 1.5's data from pycocoevalcap: the word lists inside its jar and the paraphrase table."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from pycocoevalcap.meteor import meteor as reference

from captioning.errors import InputError
from captioning.files import cache
from captioning.metrics.originals import java

_REINSTALL = "install pycocoevalcap again: pip install --force-reinstall pycocoevalcap"
_CHUNK = 1 << 22  # bytes of text per read; the whole table is 272 MB


def word_list(name: str) -> list[str]:
    """Read the lines of a file inside the jar.

    Raises:
        InputError: the jar is missing or damaged.
    """
    jar = java.file_beside(reference, reference.METEOR_JAR)
    try:
        with zipfile.ZipFile(jar) as archive:
            return archive.read(name).decode().splitlines()
    except (zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise InputError(f"expected METEOR's {name} inside {jar} ({error}); {_REINSTALL}") from error


def paraphrase_table() -> dict[bytes, bytes]:
    """Read the paraphrase table, which takes 0.2 GB of memory, and keep a copy that is read five times as fast.

    The copy is in `captioning.files.cache.folder()`, under the SHA-256 of pycocoevalcap's file. It has a digest of its
    own, and is made again if it is damaged.

    Returns:
        for each phrase, its paraphrases in the order of the table, each ended by a line feed. A phrase is words joined
        by spaces. All text is UTF-8.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = java.file_beside(reference, "data/paraphrase-en.gz")
    with path.open("rb") as file:
        name = f"meteor-paraphrases-{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}.msgpack"
    return cache.get(name, dict[bytes, bytes], lambda: _table(path))


def _table(path: Path) -> dict[bytes, bytes]:
    table: dict[bytes, bytes] = {}
    for phrase, pairs in groupby(_paraphrases(path), key=itemgetter(0)):
        table[phrase] = table.get(phrase, b"") + b"".join([paraphrase + b"\n" for _, paraphrase in pairs])
    return table


def _paraphrases(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield (phrase, paraphrase). The file has groups of three lines: probability, phrase, paraphrase."""
    rest = b""
    try:
        with gzip.open(path) as table:
            while chunk := table.read(_CHUNK):
                lines = (rest + chunk).split(b"\n")
                whole = (len(lines) - 1) // 3 * 3
                yield from zip(lines[1:whole:3], lines[2:whole:3], strict=True)
                rest = b"\n".join(lines[whole:])
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: METEOR's paraphrase table is damaged ({error}); {_REINSTALL}") from error
    if rest:
        raise InputError(f"{path}: expected groups of three lines, found {rest[-80:]!r} at the end; {_REINSTALL}")
