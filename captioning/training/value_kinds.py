"""The kind of each value in a configuration: that of the annotation in the class that gets it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from captioning.errors import InputError, shown
from captioning.training.parts import find

_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str,)),
    NoneType: ("null", (NoneType,)),
}
"""What each plain kind is called, and the types of its values. A bool is no number, although Python has it so."""


def check_kinds(config: DictConfig) -> None:
    """Check every value of every part whose class says by its annotation that it takes plain values alone.

    Annotations with other types are left to the class.

    Raises:
        InputError: a value is of another kind, or a part's class cannot be imported.
    """
    for part in _parts(config):
        for name, kinds in _plain_arguments(find(part)).items():
            if name not in part or _is_open(part, name):
                continue
            value = part[name]
            if not any(type(value) in _KINDS[kind][1] for kind in kinds):
                key = part._get_full_key(name)
                hint = f"; for text, write {key}=\"'{value}'\"" if kinds == (str,) and value is not None else ""
                expected = " or ".join(_KINDS[kind][0] for kind in kinds)
                raise InputError(f"{key}={shown(value, 100)}: expected {expected}{hint}")


def _parts(node: object) -> Iterator[DictConfig]:
    """Yield every part that is described in `node`, the outer ones first."""
    if isinstance(node, DictConfig):
        if isinstance(OmegaConf.select(node, "_target_"), str):
            yield node
        for name in node:
            if not _is_open(node, name):
                yield from _parts(node[name])
    elif isinstance(node, ListConfig):
        for item in node:
            yield from _parts(item)


def _is_open(node: DictConfig, name: Any) -> bool:
    """Return whether a value is missing, which is reported later, or is that of another setting."""
    return OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name)


def _plain_arguments(target: Any) -> dict[str, tuple[Any, ...]]:
    """Return the kinds of each argument of a class or function that takes plain values alone."""
    call = inspect.unwrap(target.__init__) if isinstance(target, type) else target  # type: ignore[misc]
    try:
        hints = get_type_hints(call)
    except (AttributeError, NameError, TypeError):  # it has none, or they name what only type checkers import
        return {}
    found = dict[str, tuple[Any, ...]]()
    for name, hint in hints.items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if name != "return" and all(kind in _KINDS for kind in kinds):
            found[name] = kinds
    return found
