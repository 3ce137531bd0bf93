"""What moves a figure, in one line to be quoted beside it, as sacreBLEU does (Post 2018, arXiv:1804.08771)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def signature_line(signature: Mapping[str, Any]) -> str:
    """Write a signature as key:value|key:value.

    Args:
        signature: as a result file holds it; a value of several parts is written part by part.
    """
    return "|".join(f"{key}:{_text(value)}" for key, value in signature.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).replace("|", "/")
