"""captioning score: score a file of captions, of any model, against a file of references."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands import natural, positive
from captioning.errors import InputError

if TYPE_CHECKING:
    from captioning.metrics import CocoScorer, Scores
    from captioning.metrics.clip_score import ClipScore
    from captioning.metrics.files import ImageId

METRICS = {
    "bleu": "BLEU",
    "meteor": "METEOR",
    "rouge": "ROUGE-L",
    "rouge-l": "ROUGE-L",
    "cider": "CIDEr",
    "cider-d": "CIDEr-D",
    "spice": "SPICE",
    "sacrebleu": "sacreBLEU",
}
DEFAULT = ("bleu", "meteor", "rouge", "cider")
BACKENDS = ("captioning", "pycocoevalcap")  # of COCO's metrics; sacreBLEU has its own
CONFIDENCE = 0.95  # of the intervals: the default of captioning.metrics
DESCRIPTION = """Score captions of any model as COCO does, with 95 % confidence intervals.
REFERENCES  COCO's captions JSON, Karpathy's (with --split), {"42": ["a dog", "the dog"], ...}, or lines of text
RESULTS     COCO's results format, [{"image_id": 42, "caption": "a dog"}, ...], {"42": "a dog", ...}, or lines"""
EPILOG = """example: captioning score captions_val2017.json results.json --compare other.json --json scores.json"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning score",
        usage="captioning score REFERENCES RESULTS [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=40, width=120),
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="help", help=argparse.SUPPRESS)
    add("references", type=Path, help=argparse.SUPPRESS)
    add("results", type=Path, help=argparse.SUPPRESS)
    add("--split", metavar="NAME", help="of a Karpathy's JSON")
    add("--subset", action="store_true", help="score the images that have a caption; else each needs exactly one")
    others = ", ".join(name for name in METRICS if name not in DEFAULT)
    add("--metrics", metavar="NAMES", help=f"{','.join(DEFAULT)} (the default), {others} (alone)")
    add("--backend", choices=BACKENDS, default=BACKENDS[0], metavar="NAME", help=f"whose code: {' or '.join(BACKENDS)}")
    add("--clip", type=Path, metavar="FOLDER", help="CLIPScore too, by the CLIP model in FOLDER")
    add("--images", type=Path, metavar="DIR", help="the images, for --clip")
    add("--device", default="cpu", help="for --clip, such as cuda (default: cpu)")
    add("--compare", type=Path, metavar="FILE", help="test the difference to these RESULTS")
    add("--replicates", type=positive, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    add("--seed", type=natural, default=0, metavar="N", help="of the bootstrap (default: 0)")
    add("--json", type=Path, metavar="FILE", help="write the figures, in the form of metrics.json")
    add("--per-image", type=Path, metavar="FILE", help="write each image's figures as CSV")
    add("--signature", action="store_true", help="print in one line what moves the figures, to be quoted with them")
    add("--document-frequencies", type=Path, metavar="FILE", help="CIDEr's, of other references than these")
    add("--save-document-frequencies", type=Path, metavar="FILE", help="write those of these references")
    options = parser.parse_args(arguments)
    score(options)
    return 0


def score(options: argparse.Namespace) -> None:
    """Score `options.results`, print the figures and write the files that are asked for."""
    from captioning.metrics import CocoScorer, files, signature_line, tokenize
    from captioning.metrics.cider import DocumentFrequencies
    from captioning.metrics.diversity import summary

    for file in (options.json, options.per_image, options.save_document_frequencies):
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file.parent}: no such folder to write {file.name} to; make it, or name another")
    references = files.read_references(options.references, options.split)
    if options.save_document_frequencies:  # of the whole file, whatever is scored
        DocumentFrequencies.of(list(tokenize(references).values())).save(options.save_document_frequencies)
    results = files.read_results(options.results)
    others = None if options.compare is None else files.read_results(options.compare)
    if options.subset:
        kept = files.subset(references, results)
        if others is not None:
            kept = {image: kept[image] for image in files.subset(references, others) if image in kept}
            others = {image: others[image] for image in kept}
        references, results = kept, {image: results[image] for image in kept}
    _check_images(options.results, references, results)
    if others is not None:
        _check_images(options.compare, references, others)
    given = options.document_frequencies
    frequencies = None if given is None else DocumentFrequencies.load(given)
    names, backend = _metrics(options.metrics, options.backend)
    clip = _clip_score(options, references)
    with CocoScorer(references, metrics=names, frequencies=frequencies, backend=backend, clip=clip) as scorer:
        scores = scorer.score(results)
        compared = None if others is None else scorer.score(others)
        written = _content(options, scorer, scores, compared, captions=summary(list(scores.tokenized.values())))
    _print(options, written)
    if options.signature:
        ours = dict(written["signature"])
        theirs = ours.pop("sacrebleu", None)
        print(signature_line(ours))
        if theirs is not None:
            print(f"sacreBLEU|{theirs}")
    if options.json:
        options.json.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.per_image:
        _write_per_image(options.per_image, results, scores)


def _check_images(path: Path, references: Mapping[ImageId, Sequence[str]], captions: Mapping[ImageId, str]) -> None:
    from captioning.metrics import files

    try:
        files.check_same_images(references, captions)
    except InputError as error:
        raise InputError(f"{path}: {error}. --subset scores the images that have a caption") from error


def _metrics(text: str | None, backend: str) -> tuple[list[str], str]:
    """The metrics' names from the option's text, and the backend that has them."""
    names = list(DEFAULT) if text is None else [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in METRICS]:
        raise InputError(f"--metrics {','.join(unknown)}: expected names among {', '.join(METRICS)}")
    found = list(dict.fromkeys(METRICS[name] for name in names))
    if "sacreBLEU" not in found:
        return found, backend
    if len(found) > 1 or backend != BACKENDS[0]:
        raise InputError(
            "--metrics sacrebleu: expected it alone and without --backend, for it scores text with case and "
            "punctuation, by its own code; score twice"
        )
    return found, "sacrebleu"


def _clip_score(options: argparse.Namespace, references: Mapping[ImageId, Sequence[str]]) -> ClipScore | None:
    """CLIPScore of these references and their images, where it is asked for."""
    if (options.clip is None) != (options.images is None):
        raise InputError(
            "CLIPScore needs a model and images: expected --clip FOLDER and --images DIR, found one of the two"
        )
    if options.clip is None:
        return None
    from captioning.evaluation.clip import Clip
    from captioning.metrics import files
    from captioning.metrics.clip_score import ClipScore

    pictures = files.find_images(options.references, options.images, list(references))
    return ClipScore(list(references.values()), pictures, Clip(options.clip, device=options.device))


def _content(
    options: argparse.Namespace,
    scorer: CocoScorer,
    scores: Scores,
    others: Scores | None,
    *,
    captions: Mapping[str, float],
) -> dict[str, Any]:
    """What is told and written: as metrics.json, and the comparison."""
    from captioning.metrics import compare, intervals

    resampled = {"num_replicates": options.replicates, "seed": options.seed}
    content: dict[str, Any] = {
        "metrics": scores.corpus,
        "intervals": {name: [found.low, found.high] for name, found in intervals(scores, **resampled).items()},
        "captions": captions,
        "signature": {
            "data": options.references.name,
            **({} if options.split is None else {"split": options.split}),
            **scorer.signature(),
            **({"bootstrap": {**resampled, "confidence": CONFIDENCE}} if scores.statistics else {}),
        },
    }
    if others is not None:
        differences = {} if not scores.statistics else compare(scores, others, **resampled)
        content["comparison"] = {
            "with": str(options.compare),
            "metrics": others.corpus,
            "differences": {name: vars(found) for name, found in differences.items()},
        }
    return content


def _print(options: argparse.Namespace, content: Mapping[str, Any]) -> None:
    from rich.table import Table

    from captioning.reports.tables import console

    other = content.get("comparison")
    title = str(options.results) if other is None else f"{options.results} beside {options.compare}"
    table = Table()
    columns = ["", "figure"]
    if content["intervals"]:
        columns.append("95 % interval")
    if other:
        columns.append(options.compare.name)
        columns += ["difference", "95 % interval", "p"] if other["differences"] else []
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for name, figure in content["metrics"].items():
        interval = [_ends(content["intervals"].get(name))] if content["intervals"] else []
        table.add_row(name, f"{figure:.4f}", *interval, *_compared(name, other))
    console().print(f"{title}, {content['signature']['num_images']} images (fractions)", soft_wrap=True)
    console().print(table)
    if not content["intervals"]:
        console().print("no intervals and no p-values: this backend keeps no statistics")


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def _compared(name: str, other: Mapping[str, Any] | None) -> list[str]:
    if other is None:
        return []
    found = other["differences"].get(name)
    tested = [] if found is None else [f"{found['difference']:+.4f}", _ends((found["low"], found["high"]))]
    return [f"{other['metrics'][name]:.4f}", *tested, *([] if found is None else [f"{found['p_value']:.4f}"])]


def _write_per_image(path: Path, results: Mapping[ImageId, str], scores: Scores) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "caption", *scores.corpus])
        writer.writerows([image, results[image], *figures.values()] for image, figures in scores.per_image.items())
