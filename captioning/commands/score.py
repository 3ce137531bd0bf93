"""captioning score: score a file of captions, of any model, against a file of references."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, parse_arguments, positive
from captioning.errors import InputError, shown
from captioning.metrics.table import BACKENDS, COCO_METRICS, METRICS, OWN_BACKEND, check_metrics, metric_named

if TYPE_CHECKING:
    from captioning.metrics.files import ImageId

_NAMES = [", ".join(name.lower() for name in METRICS if (name in COCO_METRICS) is default) for default in (True, False)]
DESCRIPTION = """Score captions of any model as COCO does, with 95 % confidence intervals.
REFERENCES  COCO's captions JSON, Karpathy's (with --split), {"42": ["a dog"], ...}, .jsonl, .csv, .tsv or lines
RESULTS     [{"image_id": 42, "caption": "a dog"}, ...], {"42": "a dog", ...}, .jsonl, .csv, .tsv or lines of text
example: captioning score captions_val2017.json results.json --compare other.json --json scores.json"""


FORMATS = ("table", "markdown", "latex", "csv", "json")
"""The forms in which scores are printed."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning score",
        usage="captioning score REFERENCES RESULTS [options]",
        description=DESCRIPTION,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=40, width=120),
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="help", help=argparse.SUPPRESS)
    add("references", type=Path, help=argparse.SUPPRESS)
    add("results", type=Path, help=argparse.SUPPRESS)
    add("--split", metavar="NAME", help="the split of Karpathy's JSON to score")
    add("--subset", action="store_true", help="score the images that have a caption; without it each image needs one")
    add("--metrics", metavar="NAMES", help=f"{_NAMES[0]} (the default); {_NAMES[1]}")
    add(
        "--backend",
        choices=list(BACKENDS),
        default=OWN_BACKEND,
        metavar="NAME",
        help=f"whose code computes the scores: {' or '.join(BACKENDS)}",
    )
    add("--clip", type=Path, metavar="FOLDER", help="also compute CLIPScore by the CLIP model in FOLDER")
    add("--images", type=Path, metavar="DIR", help="the images, for --clip")
    add("--device", default="cpu", help="for --clip, such as cuda (default: cpu)")
    add("--compare", type=Path, metavar="FILE", help="test the difference to the captions in FILE")
    add("--replicates", type=positive, default=1000, metavar="N", help="bootstrap replicates (default: 1000)")
    add("--seed", type=natural, default=0, metavar="N", help="seed of the bootstrap (default: 0)")
    add("--format", choices=FORMATS, default="table", metavar="NAME", help=f"what to print: {', '.join(FORMATS)}")
    add("--json", type=Path, metavar="FILE", help="write the scores, in the form of metrics.json")
    add("--per-image", type=Path, metavar="FILE", help="write each image's scores as CSV")
    add("--signature", action="store_true", help="print what determines the scores in one line, to be quoted with them")
    add("--document-frequencies", type=Path, metavar="FILE", help="read CIDEr's document frequencies from FILE")
    add("--save-document-frequencies", type=Path, metavar="FILE", help="write those of the given references")
    options = parse_arguments(parser, arguments)
    score(options)
    return 0


def score(options: argparse.Namespace) -> None:
    """Score `options.results`, print the scores and write the files that are asked for."""
    from captioning.evaluation.scorer import build_scorer
    from captioning.metrics import files, tokenize
    from captioning.metrics.document_frequencies import DocumentFrequencies
    from captioning.reports.result import BOOTSTRAP, Result
    from captioning.reports.score_table import TEXTS

    for file in (options.json, options.per_image, options.save_document_frequencies):
        if file is not None and not file.parent.is_dir():
            raise InputError(
                f"{shown(file.parent, 300)}: no such folder to write {shown(file.name)} to; make it, or choose another"
            )
    names = _metrics(options)
    read = files.read_some_references if options.subset else files.read_references
    references = read(options.references, options.split)
    if options.save_document_frequencies:  # counts the whole file, even if a subset is scored
        DocumentFrequencies.of(list(tokenize(references).values())).save(options.save_document_frequencies)
    results = _results(options.results, options.references, references)
    others = None if options.compare is None else _results(options.compare, options.references, references)
    if options.subset:
        kept = files.subset(references, results)
        if others is not None:
            kept = {image: kept[image] for image in files.subset(references, others) if image in kept}
            others = {image: others[image] for image in kept}
        if not kept:
            raise InputError("no image has a caption in both files; compare captions of the same images")
        references, results = kept, {image: results[image] for image in kept}
    _check_images(options.results, references, results)
    if others is not None:
        _check_images(options.compare, references, others)
    saved, folder = options.document_frequencies, options.images
    with build_scorer(
        references,
        names=names,
        backend=options.backend,
        frequencies=None if saved is None else DocumentFrequencies.load(saved),
        images=None if folder is None else files.find_images(options.references, folder, list(references)),
        clip=options.clip,
        device=options.device,
    ) as scorer:
        split = {} if options.split is None else {"split": options.split}
        scores = scorer.score(results)
        result = Result(
            scores,
            {image: results[image] for image in references},
            {"data": options.references.name, **split, **scorer.signature()},
            compared_with=None if others is None else (str(options.compare), scorer.score(others)),
            bootstrap={**BOOTSTRAP, "num_replicates": options.replicates, "seed": options.seed},
        )
    if options.format == "table":
        title = str(options.results) if others is None else f"{options.results} beside {options.compare}"
        result.print(title=title, signature=options.signature)
    else:
        print(TEXTS[options.format](result.content))
    if options.json:
        result.write_json(options.json)
    if options.per_image:
        result.write_per_image(options.per_image)


def _results(path: Path, references_path: Path, references: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, str]:
    from captioning.metrics.files import read_results
    from captioning.metrics.image_names import match_ids

    results = read_results(path)
    try:
        return match_ids(references_path, references, results)
    except InputError as error:
        raise InputError(f"{shown(path, 300)}: {error}") from error


def _check_images(path: Path, references: Mapping[ImageId, Sequence[str]], captions: Mapping[ImageId, str]) -> None:
    from captioning.metrics import files

    try:
        files.check_same_images(references, captions)
    except InputError as error:
        raise InputError(f"{shown(path, 300)}: {error}. --subset scores the images that have a caption") from error


def _metrics(options: argparse.Namespace) -> list[str]:
    """Find the metrics that the options name, and check that they can be computed."""
    names = list(COCO_METRICS) if options.metrics is None else list(map(metric_named, options.metrics.split(",")))
    given = {"embedding": options.clip, "images": options.images}
    if any(given.values()):
        names.append("CLIPScore")
    check_metrics(names, options.backend, given=[name for name, value in given.items() if value is not None])
    return list(dict.fromkeys(names))
