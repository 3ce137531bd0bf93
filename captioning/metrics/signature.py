"""What determines scores, in one line to be quoted beside them, as sacreBLEU does (Post 2018, arXiv:1804.08771)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captioning.metrics.table import METRICS


def signature_line(signature: Mapping[str, Any]) -> str:
    """Write a signature as key:value|key:value.

    Args:
        signature: as a result file holds it; the parts of a value that has several are separated by commas.
    """
    return "|".join(f"{key}:{_text(value)}" for key, value in signature.items())


def split_signature(signature: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split a signature into this package's part, and the lines of other programs, such as "sacreBLEU|nrefs:1|..."."""
    names = {name.lower(): name for name in METRICS}
    others = [f"{names[key]}|{line}" for key, line in signature.items() if key in names]
    return {key: value for key, value in signature.items() if key not in names}, others


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).replace("|", "/")
