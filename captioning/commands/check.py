"""captioning check: check that a bundle, a feature store or a run's folder is undamaged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from captioning.commands import parse_arguments
from captioning.commands._bundles import add_trust
from captioning.errors import InputError
from captioning.files.digests import check_digests, read_digests


def main(arguments: Sequence[str]) -> int:
    """Run the command. All parts are checked; the status is 1 if any of them is damaged."""
    parser = argparse.ArgumentParser(
        prog="captioning check",
        description="Check that nothing was damaged or changed: of a bundle, its files, its weights, and the captions "
        "of its golden examples; of a feature store, its features; of a run's folder, its bundle and checkpoints.",
        epilog="example: captioning check runs/best",
    )
    parser.add_argument(
        "path", nargs="+", type=Path, metavar="PATH", help="a bundle, a feature store or a run's folder"
    )
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    num_damaged = 0
    for path in options.path:
        for part, check in _parts(path, options.trust) or [(path, _refuse)]:
            try:
                print(f"{part}: {check(part)}", flush=True)
            except InputError as error:
                print(f"captioning check: {error}", file=sys.stderr)
                num_damaged += 1
    return int(num_damaged > 0)


def _parts(path: Path, trust: Sequence[str]) -> list[tuple[Path, Callable[[Path], str]]]:
    """Return each part of a folder that can be checked, with the function that checks it and says what it checked."""
    if not path.is_dir():
        return []
    found = list[tuple[Path, Callable[[Path], str]]]()
    for folder in (path, path / "bundle"):
        if (folder / "config.json").is_file() or (folder / "model.safetensors").is_file():
            found.append((folder, partial(_check_bundle, trust=trust)))
    if (path / "metrics.json").is_file() and (path / "captions.json").is_file():
        found.append((path, _check_results))
    for folder in (path, *sorted(path.iterdir())):
        if (folder / "manifest.json").is_file():
            found.append((folder, _check_store))
    return found + [(file, _check_checkpoint) for file in sorted((path / "checkpoints").glob("*.ckpt"))]


def _refuse(path: Path) -> str:
    found = "holds no bundle, no feature store and no run's checkpoints" if path.is_dir() else "is no folder"
    raise InputError(f"{path} {found}; expected a bundle, a feature store or a run's folder")


def _check_bundle(folder: Path, trust: Sequence[str]) -> str:
    from captioning.model.check import check_bundle

    return check_bundle(folder, trust=trust)


def _check_results(folder: Path) -> str:
    if not check_digests(folder):
        return "its results have no digests, as earlier versions wrote them"
    return f"{len(read_digests(folder))} files of results; their digests match"


def _check_store(folder: Path) -> str:
    from captioning.data.features.store import FeatureStore

    store = FeatureStore(folder)
    digests = "their digests match" if store.verify() else "they have no digests, as earlier versions wrote them"
    return f"features of {len(store)} images; {digests}"


def _check_checkpoint(file: Path) -> str:
    from captioning.model.checkpoint import check_digest, read_checkpoint

    digest = "its digest matches" if check_digest(file) else "it has no digest, as earlier versions wrote it"
    saved = read_checkpoint(file)
    return f"epoch {saved['epoch']}, step {saved['global_step']}; {digest}"
