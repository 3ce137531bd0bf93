"""Read and check YAML files, such as those that Hydra writes into a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from yaml.loader import SafeLoader

from captioning.errors import InputError, shown
from captioning.json_files import MAX_DEPTH, typed

T = TypeVar("T")

MAX_SIZE = 100_000
"""Bytes. A run's settings take less than 10,000, and PyYAML reads 100,000 in a second."""


def read_yaml(path: str | Path, kind: type[T]) -> T:
    """Read a YAML file whose content has a known type. Nothing but plain values is built.

    Args:
        path: the file.
        kind: the type, as for `captioning.json_files.read_typed`.

    Raises:
        InputError: the file cannot be read, is larger than 100,000 bytes, is not YAML, uses aliases or deep nesting,
            which can take all memory, or its content is not of this type.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise InputError(f"{path}: more than {MAX_SIZE:,} bytes, expected a file of settings; get the file again")
        text = data.decode("utf-8-sig")
        _check_structure(text, path)
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from error
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # tags of damaged values
        raise InputError(f"{path}: not a YAML text ({shown(error, 120)}); get the file again") from error
    return typed(content, kind, str(path))


def _check_structure(text: str, path: Path) -> None:
    """Refuse what takes more memory or stack than its bytes, before any value is built."""
    depth = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            what = "an alias" if isinstance(event, yaml.AliasEvent) else f"nesting deeper than {MAX_DEPTH}"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InputError(f"{path}:{line}: {what}, expected plain values; get the file again")
