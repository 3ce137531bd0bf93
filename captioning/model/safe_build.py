"""Build model parts from the plain values in a file.

Only classes of this package are allowed, each in its place, and those of packages that the caller trusts by name.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from torch import nn

from captioning.encoders.encoder import Encoder
from captioning.errors import InputError, described, shown
from captioning.model.limits import check_arguments
from captioning.search.length_rules import LengthRule
from captioning.search.processors import Processor

T = TypeVar("T")

Allowed = Mapping[str, type | tuple[type, ...]]
"""The packages whose classes are allowed in a place. Each package maps to the base classes of which they have one."""

_INSIDE: Mapping[str, Allowed] = {
    "encoders": {"recurrent": object, "encoders": nn.Module},
    "decoders": {"recurrent": object, "decoders": object},
    "matchers": {"recurrent": object},
    "search": {"search": (Processor, LengthRule)},
}
"""The classes that may occur in the arguments of a part, by the package of the part."""

_TARGET = re.compile(r"captioning\.([a-z]+)(\.[a-z_0-9]+)*\.([A-Z]\w*)")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def build(config: Mapping[str, Any], base: type[T], *, source: str, trust: Collection[str] = ()) -> T:
    """Build what `config` describes: its `_target_` is the class, its other keys are the arguments.

    Hydra's instantiate does the same for a user's own configuration, and runs any callable. This function is for files
    from other people, so it restricts the classes. An encoder, a decoder or a search must be a class of its own
    package. Arguments of encoders and decoders may be recurrent layers, those of encoders also encoders and word
    detectors, those of decoders also parts of decoders, and those of searches processors and length rules. Each class
    is checked before it is built. An encoder's `weights` must be null, because the encoder would read or download them.

    Args:
        config: `_target_` and the arguments. An argument may be such a mapping itself, then also with `_partial_`.
        base: the required base class: `Encoder`, `Decoder`, `WordDetector`, `Matcher`, `Search`, or a subclass of one.
        source: the file, for messages.
        trust: packages whose classes are allowed too, by their whole names, such as "mypackage". Their code runs. A
            class must be defined in the package, and have the base class of its place.

    Raises:
        InputError: a target is not allowed in its place, or cannot be built from these arguments.
    """
    package = base.__module__.split(".")[1]
    try:
        return cast(T, _part(config, {package: base}, _INSIDE[package], _Place(source, checked_names(trust))))
    except RecursionError as error:
        raise InputError(f"{source} is damaged: it is nested too deeply; copy the bundle again") from error


def check(config: Mapping[str, Any], base: type, *, source: str, trust: Collection[str] = ()) -> None:
    """Check that `build` would accept every class that `config` names, and build nothing.

    Raises:
        InputError: a target is not allowed in its place.
    """
    package = base.__module__.split(".")[1]
    place = _Place(source, checked_names(trust))
    _part_class(config, {package: base}, place)
    for part in (found for value in config.values() for found in _parts(value)):
        _part_class(part, _INSIDE[package], place)


def packages(config: Any) -> set[str]:
    """Return the top-level packages, other than this one, whose classes `config` names."""
    roots = {str(part["_target_"]).partition(".")[0] for part in _parts(config)}
    return roots - {"captioning"}


def checked_names(trust: Collection[str]) -> tuple[str, ...]:
    """Return the names of trusted packages; a single name may stand for a list of one.

    Raises:
        InputError: a name is not that of a package.
    """
    names = (trust,) if isinstance(trust, str) else tuple(trust)
    for name in names:
        if not isinstance(name, str) or not _DOTTED.fullmatch(name):
            raise InputError(f"trust: {name!r:.80} is not a package's name; expected one such as 'mypackage'")
    return names


class _Place(NamedTuple):
    """Where a configuration comes from, and which packages its reader trusts."""

    source: str
    trust: tuple[str, ...]

    def trusts(self, module: str) -> bool:
        """Return whether a module belongs to a trusted package."""
        return any(module == name or module.startswith(f"{name}.") for name in self.trust)


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping with a `_target_`, at any depth."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _parts(inner)


def _part(config: Mapping[str, Any], allowed: Allowed, inside: Allowed, place: _Place) -> Any:
    cls, is_partial = _part_class(config, allowed, place), bool(config.get("_partial_"))
    arguments = {k: _value(v, inside, place) for k, v in config.items() if k not in ("_target_", "_partial_")}
    try:
        check_arguments(cls, arguments)
        return partial(cls, **arguments) if is_partial else cls(**arguments)
    except Exception as error:  # constructors raise anything on values of the wrong kind: IndexError, ...
        given = ", ".join(arguments) or "no arguments"
        raise InputError(
            f"{place.source}: {config['_target_']} cannot be built from {shown(given)}: {shown(error, 300)}"
        ) from error


def _part_class(config: Mapping[str, Any], allowed: Allowed, place: _Place) -> type:
    """Return the class of a part, after checking that it may be built in this place."""
    source = place.source
    target, is_partial = config.get("_target_"), bool(config.get("_partial_"))
    cls, bases = _class(target, allowed, place)
    if not set(bases) & set(cls.__mro__) or (is_partial and bases != (object,)):
        names = " or ".join(base.__name__ for base in bases)
        raise InputError(f"{source}: {target} is no {names}{' with _partial_' if is_partial else ''}")
    if issubclass(cls, Encoder) and config.get("weights") is not None:
        raise InputError(
            f"{source}: an encoder's weights must be null, found {shown(repr(config['weights']))}; a bundle's weights "
            "are in model.safetensors alone"
        )
    return cls


def _value(value: Any, inside: Allowed, place: _Place) -> Any:
    if isinstance(value, (list, tuple)):
        return [_value(v, inside, place) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" in value:
        return _part(value, inside, inside, place)
    return {k: _value(v, inside, place) for k, v in value.items()}


def _class(target: Any, allowed: Allowed, place: _Place) -> tuple[type, tuple[type, ...]]:
    """Return the class that `target` names, and the base classes of which it must have one."""
    found: Any = None
    if isinstance(target, str) and (_package(target) in allowed or _names_trusted(target, place)):
        module, _, name = target.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if place.trusts(module) and error.name != module:
                raise InputError(f"{place.source}: {target} cannot be imported: {described(error)}") from error
        except Exception as error:  # code of a trusted package
            raise InputError(f"{place.source}: {target} cannot be imported: {described(error)}") from error
    # The module that defines the class counts, because a module also holds all names that it imports.
    defined = f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else ""
    if (package := _package(defined)) in allowed:
        return found, _bases(allowed[package])
    if isinstance(found, type) and _names_trusted(target, place) and place.trusts(found.__module__):
        return found, _bases(next(iter(allowed.values())))  # the packages of one place have the same base classes
    raise InputError(
        f"{place.source}: {shown(repr(target))} is no class that may stand here {_advice(target, allowed, place)}"
    )


def _bases(allowed: type | tuple[type, ...]) -> tuple[type, ...]:
    return allowed if isinstance(allowed, tuple) else (allowed,)


def _names_trusted(target: str, place: _Place) -> bool:
    return bool(_DOTTED.fullmatch(target)) and place.trusts(target.rpartition(".")[0])


def _advice(target: Any, allowed: Allowed, place: _Place) -> str:
    expected = " or ".join(f"captioning.{name}" for name in allowed)
    if isinstance(target, str) and _names_trusted(target, place):
        name = target.partition(".")[0]
        return f"({expected}, or a class that {name} itself defines); is this version of {name} the bundle's?"
    rule = f"({expected}); a bundle cannot name other code"
    root = target.partition(".")[0] if isinstance(target, str) and _DOTTED.fullmatch(target) else ""
    if "." not in str(target) or root in ("", "captioning") or root in sys.stdlib_module_names:
        return rule
    return f'{rule}, unless you trust it: trust=["{root[:80]}"] in Python, --trust {root[:80]} in commands'


def _package(name: str) -> str:
    match = _TARGET.fullmatch(name)
    return match[1] if match else ""
