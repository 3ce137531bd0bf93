"""Limits on what the files of a bundle may ask for, so that loading one from somebody else cannot exhaust the machine.

A few bytes of configuration may describe a model of any size. So no model is built that is far larger than the file
of its weights.
"""

from __future__ import annotations

import json
import math
import threading
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import msgspec
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from captioning.errors import InputError

LARGEST_JSON = 32 * 2**20
"""Bytes of a JSON file of a bundle. A vocabulary of a quarter of a million tokens takes 20 MiB."""
LARGEST_NUMBER = 10_000_000
"""The largest number among the arguments of an encoder or a decoder, such as its vocabulary's size."""
REMOVED_WEIGHTS = 150_000_000
"""Weights that an encoder may have and remove when it is built. The classifier of VGG-19 has 124 million."""
SPARE_WEIGHTS, SPARE_TENSORS = 1_000_000, 200
"""How many more weights and tensors a model may have than its file. Such a small difference is found later, when both
are compared by name, with a better message."""


def check_file_sizes(folder: Path, names: Iterable[str]) -> None:
    """Check that the JSON files of a bundle can be read without exhausting the memory.

    Raises:
        InputError: a JSON file is larger than 32 MiB.
    """
    for name in names:
        size = (folder / name).stat().st_size
        if name.endswith(".json") and size > LARGEST_JSON:
            raise InputError(f"{folder / name} has {size / 2**20:.0f} MiB, expected at most {LARGEST_JSON >> 20}")


def check_numbers(values: Any, where: str) -> None:
    """Check that the numbers among plain values are finite, and not larger than any real model's.

    Raises:
        InputError: a number is not finite or its absolute value is above ten million.
    """
    if isinstance(values, (int, float)) and not abs(values) <= LARGEST_NUMBER:  # NaN too
        raise InputError(f"{where}: found the number {json.dumps(values)[:40]}, expected at most {LARGEST_NUMBER:,}")
    if isinstance(values, Mapping):
        for value in values.values():
            check_numbers(value, where)
    if isinstance(values, (list, tuple)):
        for value in values:
            check_numbers(value, where)


def check_arguments(cls: type, arguments: Mapping[str, Any]) -> None:
    """Check that plain arguments have the types of a constructor's annotations.

    Args:
        cls: the class. Annotations of plain values are checked, such as `int`, `str | None`, `Sequence[int]`. For other
            annotations, such as a protocol, an argument must be no plain value. For a union of both, such as
            `float | LengthRule`, it may be either.
        arguments: its arguments by name. Unknown names are left to the constructor.

    Raises:
        InputError: an argument has another type.
    """
    plain = _plain_annotations(cls)
    for name, kind in _annotations(cls).items():
        if name not in arguments:
            continue
        if name not in plain or not (_is_plain(kind) or _is_value(arguments[name])):
            _check_part(name, arguments[name], kind)
            continue
        try:
            msgspec.convert(arguments[name], plain[name], strict=True)
        except msgspec.ValidationError as error:
            raise InputError(f"{name}={repr(arguments[name])[:80]}: {error}") from error


def _check_part(name: str, value: Any, kind: Any) -> None:
    """Check that a part, or each of a list of parts, is no plain value and has the attributes of its protocol.

    A wrong part would otherwise fail only when it is used.
    """
    options = typing.get_args(kind)
    if isinstance(value, (list, tuple)) and typing.get_origin(kind) in (Sequence, tuple, list):
        for one in value:
            _check_part(name, one, options[0])
    elif (value is None and NoneType in options) or kind is Any or typing.get_origin(kind) in (Mapping, dict):
        return
    elif value is None or _is_value(value) or isinstance(value, (list, tuple, Mapping)):
        raise InputError(f"{name}={repr(value)[:80]}: expected a part, with the name of its class as _target_")
    elif missing := [own for own in getattr(kind, "__annotations__", ()) if not hasattr(value, own)]:
        raise InputError(f"{name}: expected a {kind.__name__}, found a {type(value).__name__} without {missing[0]!r}")


@cache
def _plain_annotations(cls: type) -> dict[str, Any]:
    """Return the annotations of a constructor's arguments that plain values have, without the parts in unions."""
    found = {}
    for name, kind in _annotations(cls).items():
        if _is_plain(kind):
            found[name] = kind
        elif typing.get_origin(kind) in (typing.Union, UnionType):
            plain = [option for option in typing.get_args(kind) if _is_plain(option)]
            if any(option is not NoneType for option in plain):
                found[name] = typing.Union[tuple(plain)]  # noqa: UP007 - of a list
    return found


def _is_value(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


@cache
def _annotations(cls: type) -> dict[str, Any]:
    try:
        annotations = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # names that only type checkers see
        return {}
    return {name: kind for name, kind in annotations.items() if name != "return"}


def _is_plain(kind: Any) -> bool:
    if kind in (int, float, bool, str, NoneType, Ellipsis):
        return True
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return True
    return origin in (typing.Union, UnionType, Sequence, tuple, list) and all(map(_is_plain, inside))


@contextmanager
def no_larger_than(shapes: Iterable[Sequence[int]], *, spare: int = SPARE_WEIGHTS) -> Iterator[None]:
    """Refuse to build modules with far more weights than a file holds, while the block runs.

    torch's modules allocate a parameter, register it, and only then fill it. The hook refuses one that is too large
    before its memory is used.

    Args:
        shapes: the shapes of the weights in the file.
        spare: how many more numbers all parameters together may have.

    Raises:
        InputError: the modules that are built in the block have more, all together.
    """
    sizes = [math.prod(shape) for shape in shapes]
    most_weights, most_tensors = sum(sizes) + spare, len(sizes) + SPARE_TENSORS
    thread, weights, tensors = threading.get_ident(), 0, 0

    def count(_module: nn.Module, _name: str, parameter: Tensor | None) -> None:
        nonlocal weights, tensors
        if parameter is None or threading.get_ident() != thread:
            return
        weights, tensors = weights + math.prod(parameter.shape), tensors + 1
        if weights > most_weights or tensors > most_tensors:
            raise InputError(
                f"it has far more weights than model.safetensors, which holds {sum(sizes):,} in {len(sizes):,} "
                "tensors; the files are of different models: copy the bundle again"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
