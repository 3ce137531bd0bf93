"""Build model parts from the plain values in a file. Only classes of this package are allowed, each in its place."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar, cast

from captioning.encoders.encoder import Encoder
from captioning.errors import InputError
from captioning.model.limits import check_arguments
from captioning.search.processors import Processor

T = TypeVar("T")

Allowed = Mapping[str, type]
"""The packages whose classes are allowed in a place. Each package maps to the base class that they must have."""

_INSIDE: Mapping[str, Allowed] = {
    "encoders": {"recurrent": object},
    "decoders": {"recurrent": object, "decoders": object},
    "search": {"search": Processor},
}
"""The classes that may occur in the arguments of a part, by the package of the part."""

_TARGET = re.compile(r"captioning\.([a-z]+)(\.[a-z_0-9]+)*\.([A-Z]\w*)")


def build(config: Mapping[str, Any], base: type[T], *, source: str) -> T:
    """Build what `config` describes: its `_target_` is the class, its other keys are the arguments.

    Hydra's instantiate does the same for a user's own configuration, and runs any callable. This function is for files
    from other people, so it restricts the classes. An encoder, a decoder or a search must be a class of its own
    package. Arguments of encoders and decoders may be recurrent layers, those of decoders also parts of decoders, and
    those of searches processors. Each class is checked before it is built. An encoder's `weights` must be null,
    because the encoder would read or download them.

    Args:
        config: `_target_` and the arguments. An argument may be such a mapping itself, then also with `_partial_`.
        base: the required base class: `Encoder`, `Decoder`, `Search`, or a subclass of one of them.
        source: the file, for messages.

    Raises:
        InputError: a target is not allowed in its place, or cannot be built from these arguments.
    """
    package = base.__module__.split(".")[1]
    try:
        return cast(T, _part(config, {package: base}, _INSIDE[package], source))
    except RecursionError as error:
        raise InputError(f"{source} is damaged: it is nested too deeply; copy the bundle again") from error


def _part(config: Mapping[str, Any], allowed: Allowed, inside: Allowed, source: str) -> Any:
    target, is_partial = config.get("_target_"), bool(config.get("_partial_"))
    cls, base = _class(target, allowed, source)
    if base not in cls.__mro__ or (is_partial and base is not object):
        raise InputError(f"{source}: {target} is no {base.__name__}{' with _partial_' if is_partial else ''}")
    if issubclass(cls, Encoder) and config.get("weights") is not None:
        raise InputError(
            f"{source}: an encoder's weights must be null, found {repr(config['weights'])[:80]}; a bundle's weights "
            "are in model.safetensors alone"
        )
    arguments = {k: _value(v, inside, source) for k, v in config.items() if k not in ("_target_", "_partial_")}
    try:
        check_arguments(cls, arguments)
        return partial(cls, **arguments) if is_partial else cls(**arguments)
    except Exception as error:  # constructors raise anything on values of the wrong kind: IndexError, ...
        given = ", ".join(arguments) or "no arguments"
        raise InputError(f"{source}: {target} cannot be built from {given}: {str(error)[:300]}") from error


def _value(value: Any, inside: Allowed, source: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_value(v, inside, source) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" in value:
        return _part(value, inside, inside, source)
    return {k: _value(v, inside, source) for k, v in value.items()}


def _class(target: Any, allowed: Allowed, source: str) -> tuple[type, type]:
    """Return the class that `target` names, and its required base class."""
    found: Any = None
    if isinstance(target, str) and _package(target) in allowed:
        module, _, name = target.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError:
            found = None
    # The module that defines the class counts, because a module also holds all names that it imports.
    package = _package(f"{found.__module__}.{found.__qualname__}") if isinstance(found, type) else ""
    if package not in allowed:
        expected = " or ".join(f"captioning.{name}" for name in allowed)
        raise InputError(
            f"{source}: {repr(target)[:80]} is no class that may stand here ({expected}); a bundle cannot name "
            "other code"
        )
    return found, allowed[package]


def _package(name: str) -> str:
    match = _TARGET.fullmatch(name)
    return match[1] if match else ""
