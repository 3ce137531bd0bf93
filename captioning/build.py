"""Objects from plain values that come from a file: only this package's own model parts, and nothing else."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from captioning.errors import InputError

T = TypeVar("T")

_TARGET = re.compile(r"captioning\.(encoders|decoders|recurrent|search)(\.[a-z_0-9]+)*\.([A-Z]\w*)")


def build(config: Mapping[str, Any], base: type[T], *, source: str) -> T:
    """Build what `config` describes: its `_target_` is the class, its other keys are the arguments.

    Hydra's instantiate does the same for a user's own configuration and runs any callable. Here the class
    must be defined in `captioning`'s encoders, decoders, recurrent or search, whatever the file says.

    Args:
        config: `_target_`, optionally `_partial_`, and arguments; nested ones too.
        base: the class must derive from it.
        source: the file, for messages.

    Raises:
        InputError: the target is not allowed, is not a `base`, or cannot be built from these arguments.
    """
    built = _build(config, source)
    if not isinstance(built, base):
        raise InputError(f"{source}: {config.get('_target_')} is not a {base.__name__}")
    return built


def _build(value: Any, source: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_build(v, source) for v in value]
    if not isinstance(value, Mapping):
        return value
    arguments = {k: _build(v, source) for k, v in value.items() if k not in ("_target_", "_partial_")}
    if "_target_" not in value:
        return arguments
    cls = _class(value["_target_"], source)
    if value.get("_partial_"):
        return partial(cls, **arguments)
    try:
        return cls(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        given = ", ".join(arguments) or "no arguments"
        raise InputError(f"{source}: {value['_target_']} cannot be built from {given}: {error}") from error


def _class(target: Any, source: str) -> type:
    match = _TARGET.fullmatch(target) if isinstance(target, str) else None
    found: Any = None
    if match:
        module, _, name = target.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError:
            found = None
    if not isinstance(found, type) or not _TARGET.fullmatch(f"{found.__module__}.{found.__qualname__}"):
        raise InputError(
            f"{source}: {target!r} is no encoder, decoder, recurrent layer or search of captioning; "
            "a bundle cannot name other code"
        )
    return found
