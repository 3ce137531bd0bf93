"""captioning check: check that a bundle, a feature store or a run is undamaged, or that data can be trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from captioning.commands import parse_arguments, positive
from captioning.commands._bundles import add_trust, json_line
from captioning.errors import InputError
from captioning.files.digests import check_digests, read_digests


@dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes:
        text: for people.
        ok: whether nothing is wrong.
        details: further plain values for programs.
    """

    text: str
    ok: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Run the command. All parts are checked; the status is 1 if any of them is damaged or cannot be trained on."""
    parser = argparse.ArgumentParser(
        prog="captioning check",
        usage="captioning check PATH... [options]",
        description="Check that nothing was damaged or changed: of a bundle, its files, its weights, and the captions "
        "of its golden examples; of a feature store, its features; of a run's folder, its bundle and checkpoints. "
        "Of a folder of images with captions, find what would stop training, and what would be left out.",
        epilog="example: captioning check runs/best photos",
    )
    parser.add_argument("path", nargs="+", type=Path, metavar="PATH", help="what to check")
    parser.add_argument("--captions", metavar="FILE", help="of images: the file of captions (default: the only one)")
    for column in ("image", "caption", "split"):
        parser.add_argument(f"--{column}-column", metavar="NAME", help=f"its column or key for the {column}")
    parser.add_argument("--max-length", metavar="N", type=positive, default=30, help="most words of a caption (30)")
    parser.add_argument("--json", action="store_true", help="write one JSON object in each line")
    add_trust(parser)
    options = parse_arguments(parser, arguments)
    outcomes = [
        _report(part, _outcome(part, check), json=options.json)
        for path in options.path
        for part, check in _parts(path, options)
    ]
    return int(not all(outcome.ok for outcome in outcomes))


def _outcome(part: Path, check: Callable[[Path], str | Outcome]) -> Outcome:
    try:
        found = check(part)
    except InputError as error:
        return Outcome(str(error), ok=False)
    return found if isinstance(found, Outcome) else Outcome(found)


def _report(part: Path, found: Outcome, *, json: bool) -> Outcome:
    """Print an outcome."""
    if json:
        print(json_line({"path": str(part), "ok": found.ok, "message": found.text, **found.details}), flush=True)
    elif found.ok or found.details:
        print(f"{part}: {found.text}", flush=True)
    else:
        print(f"captioning check: {found.text}", file=sys.stderr)
    return found


def _parts(path: Path, options: argparse.Namespace) -> list[tuple[Path, Callable[[Path], str | Outcome]]]:
    """Return each part of a folder that can be checked, with the function that checks it and says what it checked."""
    if not path.is_dir():
        return [(path, _refuse)]
    found = list[tuple[Path, Callable[[Path], str | Outcome]]]()
    for folder in (path, path / "bundle"):
        if (folder / "config.json").is_file() or (folder / "model.safetensors").is_file():
            found.append((folder, partial(_check_bundle, trust=options.trust)))
    if (path / "metrics.json").is_file() and (path / "captions.json").is_file():
        found.append((path, _check_results))
    for folder in (path, *sorted(path.iterdir())):
        if (folder / "manifest.json").is_file():
            found.append((folder, _check_store))
    found += [(file, _check_checkpoint) for file in sorted((path / "checkpoints").glob("*.ckpt"))]
    return found or [(path, partial(_check_data, options=options) if _holds_data(path) else _refuse)]


def _refuse(path: Path) -> str:
    found = (
        "holds no bundle, no feature store and no run's checkpoints, and no images" if path.is_dir() else "is no folder"
    )
    raise InputError(f"{path} {found}; expected a bundle, a feature store, a run's folder or a folder of images")


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


def _holds_data(folder: Path) -> bool:
    from captioning.data.image_files import images_below
    from captioning.data.readers.caption_rows import FORMS

    return bool(images_below(folder)) or any(file.suffix.lower() in FORMS for file in folder.iterdir())


def _check_data(folder: Path, options: argparse.Namespace) -> Outcome:
    """Survey a data set in the layout of COCO or Flickr8k, or of a user's own."""
    from captioning.data.readers import Coco, Flickr8k, Folder
    from captioning.data.readers.flickr8k import text_file
    from captioning.data.survey import survey_folder, survey_reader

    years = [year for year in (2017, 2014) if (folder / "annotations" / f"captions_train{year}.json").is_file()]
    if years:
        survey = survey_reader(Coco(str(folder), year=years[0]), folder, max_length=options.max_length)
    elif text_file(folder, "Flickr8k.token.txt"):
        survey = survey_reader(Flickr8k(str(folder)), folder, max_length=options.max_length)
    else:
        columns = {f"{name}_column": getattr(options, f"{name}_column") for name in ("image", "caption", "split")}
        survey = survey_folder(Folder(str(folder), captions=options.captions, **columns), max_length=options.max_length)
    return Outcome(str(survey), ok=survey.trains, details=survey.content())
