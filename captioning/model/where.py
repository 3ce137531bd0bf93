"""Find the model that is named: a bundle, a run's folder, a run's checkpoint, a shipped model, or one on the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from captioning.errors import InputError, shown
from captioning.model.bundle import FILES, Parts, read_bundle
from captioning.model.checkpoint import checkpoint_parts, load_checkpoint, read_checkpoint
from captioning.model.hub import download, is_hub_name
from captioning.model.shipped import shipped
from captioning.model.stored_weights import load_weights

log = logging.getLogger(__name__)

BUNDLE, CHECKPOINTS, LAST, SUFFIX = "bundle", "checkpoints", "last.ckpt", ".ckpt"
"""What a run's folder holds."""


def locate(where: Path) -> Path:
    """Find the bundle or the checkpoint that a path or a name stands for.

    Args:
        where: a bundle; the folder of a run, which has a bundle once it is finished, and until then stands for its best
            checkpoint so far, or its last one if none is the best yet; or a checkpoint's file. If there is no such
            file, the name of a model that comes with the package, or of one on the hub, owner/name.

    Returns:
        The bundle's folder, or the checkpoint's file.

    Raises:
        InputError: there is no model.
    """
    if not where.exists():
        return _named(where)
    if where.is_file() and where.suffix == SUFFIX:
        return where
    if not where.is_dir():
        raise InputError(f"{shown(where, 300)} is a file; {_EXPECTED}")
    if any((where / name).exists() for name in FILES):
        return where
    if (where / BUNDLE).is_dir():
        return where / BUNDLE
    if (where / CHECKPOINTS / LAST).is_file():
        found = _best(where / CHECKPOINTS)
        log.warning("%s holds no bundle yet; its checkpoint %s is used", shown(where, 300), found.name)
        return found
    runs = sorted(path.name for path in where.iterdir() if (path / BUNDLE).is_dir() or (path / CHECKPOINTS).is_dir())
    if runs:
        raise InputError(f"{shown(where, 300)} holds {len(runs)} runs; name one of them, such as {where / runs[0]}")
    if (named := shipped().get(str(where))) is not None:
        return named  # another folder, such as a data set, has the name of one of the package's models
    raise InputError(f"{shown(where, 300)} is no bundle, and no run that has saved a checkpoint; {_EXPECTED}")


_EXPECTED = "expected a bundle, the folder of a run, or a run's checkpoint (.ckpt)"


def _named(where: Path) -> Path:
    """Find a model by its name, in the package or on the hub."""
    models = shipped()
    if (found := models.get(str(where))) is not None:
        return found
    if is_hub_name(where):
        return download(where.as_posix())
    names = f", or one of the package's models: {', '.join(models)}" if models else ""
    raise InputError(f"{shown(where, 300)} does not exist; {_EXPECTED}{names}")


def read_model(where: Path, *, trust: Collection[str] = ()) -> tuple[Parts, Callable[[nn.Module], None]]:
    """Build the parts of the model that a path names, without its weights.

    Args:
        where: see `locate`.
        trust: packages whose classes the model may name; see `captioning.model.safe_build.build`.

    Returns:
        The parts, and a function that loads the weights into a model of these parts.

    Raises:
        InputError: there is no model, or it is damaged.
    """
    path = locate(where)
    if path.is_dir():
        return read_bundle(path, trust=trust), partial(load_weights, folder=path)
    saved = read_checkpoint(path)
    return checkpoint_parts(saved, path, trust=trust), partial(load_checkpoint, saved=saved, path=path)


def _best(folder: Path) -> Path:
    """Return the best checkpoint of a run that is not finished, or the last one."""
    last = folder / LAST
    for name in _names(read_checkpoint(last).get("callbacks")):
        if (folder / Path(name).name).is_file():
            return folder / Path(name).name
    return last


def _names(callbacks: Any) -> Iterator[str]:
    """Yield the files of the best checkpoints, best first, from the states of Lightning's callbacks."""
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        match state:
            case {"best": [*found]}:
                yield from (kept["file"] for kept in found if isinstance(kept, Mapping) and _is_text(kept.get("file")))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
