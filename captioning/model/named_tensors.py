"""Features and decoder states as tensors with names, and back, for files that hold tensors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from torch import Tensor

from captioning.decoders.decoder import State
from captioning.encoders.features import ImageFeatures, Objects

S = TypeVar("S", bound=State)


def feature_tensors(features: ImageFeatures) -> dict[str, Tensor]:
    """Return the tensors of features by name: "pooled", "grid", "final.0", "others.0.pooled" and so on."""
    objects = {} if features.objects is None else {f"objects.{k}": v for k, v in vars(features.objects).items()}
    final = {f"final.{i}": state for i, state in enumerate(features.final or ())}
    others = {f"others.{i}.{k}": v for i, one in enumerate(features.others) for k, v in feature_tensors(one).items()}
    own = {name: getattr(features, name) for name in ("pooled", "grid", "mask", "words", "layers")}
    return {name: tensor for name, tensor in (own | objects | final | others).items() if tensor is not None}


def features_of(tensors: Mapping[str, Tensor]) -> ImageFeatures:
    """Put features together again; the opposite of `feature_tensors`.

    Raises:
        KeyError, TypeError: a tensor is missing.
    """
    objects = [tensors[f"objects.{name}"] for name in ("categories", "boxes", "mask") if f"objects.{name}" in tensors]
    num_states = sum(name.startswith("final.") for name in tensors)
    others = [{k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)} for p in _prefixes(tensors)]
    return ImageFeatures(
        pooled=tensors["pooled"],
        grid=tensors.get("grid"),
        mask=tensors.get("mask"),
        objects=Objects(*objects) if objects else None,
        final=tuple(tensors[f"final.{i}"] for i in range(num_states)) or None,
        words=tensors.get("words"),
        layers=tensors.get("layers"),
        others=tuple(map(features_of, others)),
    )


def _prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """List the beginnings of the names of each further encoder's features: "others.0.", and so on."""
    found = {name.split(".")[1] for name in tensors if name.startswith("others.")}
    return [f"others.{number}." for number in range(len(found))]


def state_tensors(state: State) -> dict[str, Tensor]:
    """Return the tensors of a decoder's state by name: "hidden", "memory.values", "recurrent.0" and so on.

    Raises:
        TypeError: a field holds anything but tensors, tuples, states and None.
    """
    return dict(_leaves("", state))


def state_of(template: S, tensors: Sequence[Tensor]) -> S:
    """Return a state like `template` that holds other tensors, in the order of `state_tensors`."""
    return cast(S, _rebuilt(template, iter(tensors)))


def tensors_with_rows(state: State) -> frozenset[str]:
    """Return the names of the tensors of which a search picks rows. The others have one row for each image."""
    before, after = state_tensors(state), state_tensors(state.map(lambda x: x.clone()))
    return frozenset(name for name, tensor in after.items() if tensor is not before[name])


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif (inner := _inner(value)) is not None:
        for key, one in inner.items():
            yield from _leaves(f"{name}.{key}" if name else key, one)
    elif value is not None:
        raise TypeError(f"a decoder's state holds a {type(value).__name__} as {name}")


def _rebuilt(template: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(template, Tensor):
        return next(tensors)
    if (inner := _inner(template)) is None:
        return template
    values = {key: _rebuilt(one, tensors) for key, one in inner.items()}
    return tuple(values.values()) if isinstance(template, tuple) else replace(template, **values)


def _inner(value: Any) -> dict[str, Any] | None:
    """Return what a tuple or a dataclass holds, by number or by name; None for anything else."""
    if isinstance(value, tuple):
        return {str(i): one for i, one in enumerate(value)}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None
