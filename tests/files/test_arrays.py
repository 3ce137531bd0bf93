"""Arrays are read as they were saved, or refused before memory is taken."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from captioning.errors import InputError
from captioning.files.arrays import FLOATS, ArrayKind, open_npy, read_npz, read_safetensors

MATRIX = ArrayKind(FLOATS, dimensions=2)
VALUES = np.arange(15, dtype=np.float32).reshape(3, 5)


def npy(values: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text.encode() + b"\n" + data


def zipped(path: Path, member: bytes, *, method: int = zipfile.ZIP_STORED, name: str = "feat.npy") -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, member)
    return path


@pytest.mark.parametrize("values", [VALUES, VALUES.T, VALUES.astype(">f8"), VALUES.astype(np.float16)])
def test_an_array_is_read_as_it_was_saved(values: NDArray[Any], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", feat=values, names=np.array(["x"]))
    np.savez_compressed(tmp_path / "b.npz", feat=values)
    mapped = open_npy(tmp_path / "a.npy", MATRIX)
    packed = [read_npz(tmp_path / name, {"x": MATRIX, "feat": MATRIX}) for name in ("a.npz", "b.npz")]
    for found in (mapped, *(arrays["feat"] for arrays in packed)):
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def test_the_largest_array_of_an_npz_is_read_in_parts(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((1031, 331))
    np.savez(tmp_path / "a.npz", feat=values)
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", {"feat": MATRIX})["feat"], values)


DAMAGED: dict[str, tuple[bytes, str]] = {
    "a shape of 2^62": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"),
        "says",
    ),
    "a shape of 2^70": (header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70}, 4), }}"), "header gives"),
    "a negative shape": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4), }"), "header gives"),
    "a shape of bools": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 1), }"), "header gives"),
    "no rows": (npy(VALUES[:0]), "none of them 0"),
    "strings of no letter": (header("{'descr': '<U0', 'fortran_order': False, 'shape': (9, 9), }"), "header gives"),
    "objects": (npy(np.array([[{}]]), allow_pickle=True), "holds object"),
    "integers": (npy(VALUES.astype(int)), r"holds int64 \(3, 5\), expected float16, float32 or float64"),
    "a record": (npy(np.zeros((2, 2), dtype=[("a", "<f4")])), "holds void"),
    "another number of dimensions": (npy(VALUES[0]), r"holds float32 \(5,\), expected .* of 2 dimensions"),
    "one byte less": (npy(VALUES)[:-1], "is damaged"),
    "one byte more": (npy(VALUES) + b"x", "is damaged"),
    "no header": (b"\x93NUMPY\x01\x00", "is damaged"),
    "a header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "is damaged"),
    "format 3": (b"\x93NUMPY\x03\x00" + npy(VALUES)[8:], "is damaged"),
    "code": (header("__import__('os').system('touch hacked')"), "is damaged"),
    "deep nesting": (header("(" * 9000), "is damaged"),
    "nothing": (b"", "is damaged"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_array_is_refused_before_memory_is_taken(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    zipped(tmp_path / "a.npz", content)
    tracemalloc.start()
    for read in (
        lambda: open_npy(tmp_path / "a.npy", MATRIX),
        lambda: read_npz(tmp_path / "a.npz", {"feat": MATRIX}),
    ):
        with pytest.raises(InputError, match=message) as refused:
            read()
        assert len(str(refused.value)) < len(str(tmp_path)) + 250
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def broken_checksum(path: Path) -> None:
    content = zipped(path, npy(VALUES)).read_bytes()
    path.write_bytes(content.replace(VALUES.tobytes(), VALUES.tobytes()[:-1] + b"\x01"))


def twice(path: Path) -> None:
    zipped(path, npy(VALUES))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("feat.npy", npy(VALUES))


def patched(path: Path, at: bytes, offset: int, value: bytes, method: int = zipfile.ZIP_STORED) -> None:
    """Change a field of the zip file's directory."""
    content = bytearray(zipped(path, npy(VALUES), method=method).read_bytes())
    begin = content.rindex(at) + offset
    content[begin : begin + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: zipped(path, npy(VALUES), name="boxes.npy"), "holds boxes, expected an array called feat or x"),
        (lambda path: zipped(path, npy(VALUES), method=zipfile.ZIP_LZMA), "packed in an unusual way"),
        (lambda path: patched(path, b"PK\x01\x02", 8, b"\x01"), "encrypted"),
        (lambda path: patched(path, b"PK\x01\x02", 24, b"\xff\xff\xff\x7f"), "two sizes"),
        (lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)), "holds nothing"),
        (lambda path: np.savez(path, **{f"a{n}": VALUES for n in range(1001)}), "1,001 arrays, expected up to 1,000"),
        (broken_checksum, "is damaged: .*CRC"),
        (twice, "of different names"),
        (
            lambda path: patched(path, b"PK\x01\x02", 24, b"\x00\x00\x00\x40", zipfile.ZIP_DEFLATED),
            "unpacks to 1,073,741,824 bytes, expected up to 536,870,912",
        ),
    ],
)
def test_a_damaged_or_unusual_npz_is_refused(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "a.npz")
    with pytest.raises(InputError, match=message):
        read_npz(tmp_path / "a.npz", {"feat": MATRIX, "x": MATRIX})


def test_tensors_and_metadata_are_read_as_they_were_saved(tmp_path: Path) -> None:
    save_file({"a": VALUES, "b": VALUES.astype(np.float64)}, tmp_path / "a.safetensors", metadata={"ids": "[1]"})
    metadata, arrays = read_safetensors(tmp_path / "a.safetensors", MATRIX)
    assert metadata == {"ids": "[1]"}
    assert arrays["b"].dtype == np.float64
    np.testing.assert_array_equal(arrays["a"], VALUES)


@pytest.mark.parametrize("values", [VALUES.astype(np.int64), VALUES[0], VALUES[:0]])
def test_tensors_of_another_kind_are_refused(values: NDArray[Any], tmp_path: Path) -> None:
    save_file({"a": values}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a.safetensors, array a holds \w+ \(.*\), expected float16, float32 or"):
        read_safetensors(tmp_path / "a.safetensors", MATRIX)


READERS = [
    lambda path: open_npy(path, MATRIX),
    lambda path: read_npz(path, {"feat": MATRIX}),
    lambda path: read_safetensors(path, MATRIX),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_regular_file_is_refused_without_waiting(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("nowhere", "cannot be read .No such file"), ("pipe", "no regular file"), (".", "regular")):
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)
