"""The precision in which an encoder computed cached features, as a part of their identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captioning.errors import InputError

PRECISIONS = ("float32", "bfloat16")


def with_precision(identity: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Add the precision to `Encoder.identity`. That of float32 stays as it is, so that earlier stores can be used."""
    check_precision(precision)
    return dict(identity) if precision == "float32" else {**identity, "precision": precision}


def precision_of(identity: Mapping[str, Any]) -> str:
    """Return the precision that `with_precision` has added."""
    return str(identity.get("precision", "float32"))


def without_precision(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `with_precision`."""
    return {key: value for key, value in identity.items() if key != "precision"}


def check_precision(precision: str) -> None:
    """Check the name of a precision.

    Raises:
        InputError: it is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision={precision}: expected {' or '.join(PRECISIONS)}")
