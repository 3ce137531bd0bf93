"""Read the arrays of .npy, .npz and .safetensors files that a user gives.

A file's header is checked before memory is taken: the type and dimensions must be expected ones, and the sizes that the
header gives must be those of the file. Nothing is unpickled.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors import safe_open

from captioning.errors import InputError, shown

Array = NDArray[Any]

MAX_UNPACKED = 2**29
"""Bytes of a compressed array after unpacking. Arrays that are not compressed take no more than their file."""
MAX_MEMBERS = 1000
_MAX_HEADER = 2**14
_SAFETENSORS_TYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "I64": "int64", "BOOL": "bool"}
_SAFETENSORS_TYPES |= {"U8": "uint8", "U16": "uint16", "U32": "uint32"}


@dataclass(frozen=True)
class ArrayKind:
    """What an array may be.

    Attributes:
        dtypes: names such as "float32" and "bool", in any byte order; "str" for Unicode strings of any width.
        dimensions: how many dimensions it has.
    """

    dtypes: Sequence[str]
    dimensions: int

    def check(self, dtype: str, shape: Sequence[int], where: object) -> None:
        """Check a type and a shape from a file's header.

        Raises:
            InputError: the type or the number of dimensions is another one, or the array is empty.
        """
        if dtype not in self.dtypes or len(shape) != self.dimensions or 0 in shape:
            raise InputError(
                f"{where} holds {dtype} {shown(tuple(shape))}, expected {_any_of(self.dtypes)} of "
                f"{self.dimensions} dimensions, none of them 0"
            )


FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    length: int

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def open_npy(path: str | Path, kind: ArrayKind, *, mode: Literal["r", "r+"] = "r") -> np.memmap[Any, Any]:
    """Map an .npy file into memory.

    Args:
        path: the file.
        kind: what it may hold.
        mode: "r" to read, "r+" to write too.

    Raises:
        InputError: the file is missing, is damaged, or holds another array or more than one.
    """
    path = Path(path)
    with _reading(path, "an .npy file"):
        size = _size(path)
        with path.open("rb") as file:
            header = _header(file.read(_MAX_HEADER), kind, path)
        _check_size(header, size, path)
        return np.memmap(path, header.dtype, mode, header.length, header.shape, header.order)


def read_npz(path: str | Path, kinds: Mapping[str, ArrayKind]) -> dict[str, Array]:
    """Read some arrays of an .npz file.

    Args:
        path: the file.
        kinds: the names of the arrays to read, and what they may hold.

    Returns:
        Those of these arrays that the file has, in the order of `kinds`; at least one.

    Raises:
        InputError: the file is missing, is damaged, has none of these arrays, or one of them is of another kind.
    """
    path = Path(path)
    found = {}
    with _reading(path, "an .npz file"):
        _size(path)
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(members) > MAX_MEMBERS or len(set(names)) < len(names):
                raise InputError(f"{path}: {len(names):,} arrays, expected up to {MAX_MEMBERS:,} of different names")
            for name, kind in kinds.items():
                if name in names:
                    member = members[names.index(name)]
                    found[name] = _read_member(archive, member, kind, f"{path}, array {name}")
    if not found:
        raise InputError(
            f"{path} holds {shown(', '.join(names) or 'nothing')}, expected an array called {_any_of(kinds)}"
        )
    return found


def read_safetensors(path: str | Path, kind: ArrayKind) -> tuple[dict[str, str], dict[str, Array]]:
    """Read the metadata and all arrays of a .safetensors file. Its library checks the sizes in the header.

    Args:
        path: the file.
        kind: what each array may be.

    Raises:
        InputError: the file is missing or damaged, or an array is of another kind.
    """
    path = Path(path)
    with _reading(path, "a .safetensors file"):
        _size(path)
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                header = file.get_slice(name)
                dtype = str(header.get_dtype())
                kind.check(_SAFETENSORS_TYPES.get(dtype, dtype), header.get_shape(), f"{path}, array {shown(name)}")
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kind: ArrayKind, where: str) -> Array:
    packed = member.compress_type != zipfile.ZIP_STORED
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise InputError(f"{where} is encrypted or packed in an unusual way; save it again with numpy.savez")
    if packed and member.file_size > MAX_UNPACKED:
        raise InputError(
            f"{where} unpacks to {member.file_size:,} bytes, expected up to {MAX_UNPACKED:,}; save it with numpy.savez"
        )
    if not packed and member.file_size != member.compress_size:
        raise ValueError(f"two sizes, {member.file_size} and {member.compress_size}")
    with archive.open(member) as file:
        start = file.read(min(_MAX_HEADER, member.file_size))
        header = _header(start, kind, where)
        _check_size(header, member.file_size, where)
        data = bytearray(header.num_bytes)
        first = start[header.length :]
        data[: len(first)] = first
        filled = len(first)
        while chunk := file.read(2**20):  # to the end, where the checksum is compared
            data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
    if len(data) != filled or filled != header.num_bytes:
        raise ValueError("it is truncated")
    array: Array = np.frombuffer(data, header.dtype).reshape(header.shape, order=header.order)
    return array


def _header(start: bytes, kind: ArrayKind, where: object) -> _Header:
    file = BytesIO(start)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with warnings.catch_warnings():  # of Python 2's headers, and of numbers that run into letters
        warnings.simplefilter("ignore")
        shape, is_fortran, dtype = readers[npy.read_magic(file)](file)
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape) or not dtype.itemsize:
        raise ValueError(f"its header gives {dtype} {shown(shape)}")
    kind.check("str" if dtype.kind == "U" else dtype.name, shape, where)
    return _Header(dtype, shape, "F" if is_fortran else "C", file.tell())


def _check_size(header: _Header, size: int, where: object) -> None:
    expected = header.length + header.num_bytes
    if size != expected:
        raise InputError(
            f"{where} is damaged: it has {size:,} bytes, and its header says {header.dtype} {shown(header.shape)}, "
            f"{expected:,} bytes; copy it again"
        )


def _size(path: Path) -> int:
    status = path.stat()
    if not path.is_file():
        raise ValueError("it is no regular file")
    return status.st_size


def _any_of(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


@contextmanager
def _reading(path: Path, expected: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or shown(error)}); expected {expected}") from error
    except Exception as error:  # damaged bytes raise anything: SyntaxError, struct.error, RuntimeError, ...
        raise InputError(f"{path} is damaged: expected {expected} ({shown(error)}); copy it again") from error
