"""captioning rerank: choose among the M best captions of each image by weights of their features."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.commands import natural, parse_arguments, positive
from captioning.errors import InputError, shown
from captioning.metrics.table import check_metrics, metric_named

if TYPE_CHECKING:
    from captioning.metrics import CocoScorer
    from captioning.metrics.files import ImageId
    from captioning.reranking import NBest
    from captioning.reranking.mert import Floats, Integers, Score, Tuned

References = dict["ImageId", Sequence[str]]

SCORES = {"bleu": ("BLEU", "BLEU-4"), "cider": ("CIDEr", "CIDEr")}
"""The metric and its score that each choice of --metric names."""

TITLES = {"first": "first", "reranked": "re-ranked"}

DESCRIPTION = """Choose among the M best captions of each image by weights of their features. Minimum error rate
training (Och 2003) tunes the weights on one half of the images for BLEU-4 or CIDEr. The other half is scored, with
95 % confidence intervals. Which half an image is in depends on its id alone, and on which other images there are.
NBEST       as `captioning nbest` writes it; the search's best caption of each image comes first:
            [{"image_id": 42, "hypotheses": [{"caption": "a dog", "features": {"length": 2}}, ...]}, ...]
REFERENCES  the references of the same images, as for `captioning score`
example: captioning rerank nbest.json references.json --metric cider --out results.json"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning rerank",
        usage="captioning rerank NBEST REFERENCES [options]",
        description=DESCRIPTION,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=40, width=120),
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="help", help=argparse.SUPPRESS)
    add("nbest", type=Path, help=argparse.SUPPRESS)
    add("references", type=Path, help=argparse.SUPPRESS)
    add("--split", metavar="NAME", help="the split of Karpathy's JSON")
    add("--metric", choices=list(SCORES), default="bleu", help="what the weights maximise (default: bleu, BLEU-4)")
    features = parser.add_mutually_exclusive_group()
    features.add_argument("--features", metavar="NAMES", help="tune these features, separated by commas (default: all)")
    features.add_argument("--by", metavar="NAME", help="choose by the highest value of one feature, such as consensus")
    add("--restarts", type=positive, default=20, metavar="N", help="starts of the search for weights (default: 20)")
    add("--seed", type=natural, default=0, metavar="N", help="seed of the starts (default: 0)")
    add(
        "--report",
        default="bleu,meteor,cider",
        metavar="NAMES",
        help="metrics of the scored half (default: bleu,meteor,cider)",
    )
    add("--out", type=Path, metavar="FILE", help="write the captions of the scored half, in COCO's results format")
    add("--json", type=Path, metavar="FILE", help="write the scores and the weights")
    rerank(parse_arguments(parser, arguments))
    return 0


@dataclass(frozen=True)
class _Half:
    """Half of the images.

    Attributes:
        lists: their M-best lists.
        statistics: (I, M, S).
        score: what is maximised, of sums of statistics.
    """

    lists: NBest
    statistics: Floats
    score: Score

    def score_of(self, chosen: Integers) -> float:
        """Score one caption of each image, by its position."""
        return float(self.score(self.statistics[range(len(chosen)), chosen].sum(0)))


def rerank(options: argparse.Namespace) -> None:
    """Tune weights on one half of `options.nbest`, and score and write what they choose from the other."""
    from captioning.files.atomic import write_json
    from captioning.reranking.nbest import halves

    for file in (options.out, options.json):
        if file is not None and not file.parent.is_dir():
            folder = shown(file.parent, 300)
            raise InputError(f"{folder}: no such folder to write {shown(file.name)} to; make it, or choose another")
    report = list(dict.fromkeys(map(metric_named, options.report.split(","))))
    check_metrics(report)
    lists, references = _read(options)
    tuning, scored = (lists.select(images) for images in halves(lists.image_ids))
    weights = _weights(options, tuning, scored, references)
    captions, content = _scored(scored, references, weights, report=report, data=options.nbest.name)
    if options.json is not None:
        tuned_for = None if weights is None or options.by is not None else SCORES[options.metric][1]
        write_json(options.json, {**content, "tuned_for": tuned_for})
    if options.out is not None:
        write_json(options.out, [{"image_id": image, "caption": caption} for image, caption in captions.items()])
        print(f"{len(captions):,} captions written to {options.out}")


def _read(options: argparse.Namespace) -> tuple[NBest, References]:
    """Read the lists and the references, with the references' ids for the images of the lists."""
    from captioning.metrics.files import read_references
    from captioning.metrics.image_names import match_ids
    from captioning.reranking.nbest import in_order, read_nbest

    lists, where = read_nbest(options.nbest), shown(options.nbest, 300)
    names = [options.by] if options.by is not None else None
    if options.features is not None:
        names = [name.strip() for name in options.features.split(",")]
    references = read_references(options.references, options.split)
    try:
        lists = lists if names is None else lists.with_features(names)
        found = match_ids(options.references, references, dict.fromkeys(lists.image_ids, ""))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    lists = replace(lists, image_ids=tuple(found))
    return lists, dict(zip(lists.image_ids, in_order(lists, references, where), strict=True))


def _weights(
    options: argparse.Namespace, tuning: NBest, scored: NBest, references: References
) -> dict[str, float] | None:
    """Return the weight of each feature, and print what tuning found; None if no image has a choice of captions."""
    if all(len(own) == 1 for half in (tuning, scored) for own in half.captions):
        print("each image has one caption, so there is nothing to choose")
        return None
    if options.by is not None:
        return {options.by: 1.0}
    from captioning.reranking.mert import tune, winners

    first, second = (_half(half, references, options.metric) for half in (tuning, scored))
    tuned = tune(tuning.features, first.statistics, first.score, restarts=options.restarts, seed=options.seed)
    weights = dict(zip(tuning.names, tuned.weights.tolist(), strict=True))
    chosen = winners(scored.features, tuned.weights)
    _print(SCORES[options.metric][1], tuned, (first, second), chosen, weights)
    return weights


def _half(half: NBest, references: References, name: str) -> _Half:
    from captioning.metrics.resources import Resources
    from captioning.metrics.table import METRICS
    from captioning.reranking.mert import maximised

    metric_name, score_name = SCORES[name]
    kind = METRICS[metric_name]
    text = {image_id: references[image_id] for image_id in half.image_ids}
    tokens = text if kind.tokenizer is None else kind.tokenizer.tokenize(text)
    metric = kind.of(Resources(list(text.values()), list(tokens.values())))
    return _Half(half, half.statistics(metric), maximised(metric, score_name))


def _print(
    name: str, tuned: Tuned, halves: tuple[_Half, _Half], chosen: Integers, weights: Mapping[str, float]
) -> None:
    import numpy as np
    from rich.table import Table

    from captioning.reports.tables import console

    tuning, scored = halves
    scores = Table("half", "images", f"{name} of first captions", "re-ranked", title=f"re-ranked for {name}")
    rows = [("tuned", tuning, tuned.start, tuned.score)]
    rows.append(("scored", scored, scored.score_of(np.zeros_like(chosen)), scored.score_of(chosen)))
    for half, own, first, reranked in rows:
        scores.add_row(half, f"{len(own.lists.image_ids):,}", f"{first:.4f}", f"{reranked:.4f}")
    found = Table("feature", "weight")
    for feature, weight in weights.items():
        found.add_row(feature, f"{weight:.6g}")
    console().print(scores, found)


def _scored(
    half: NBest, references: References, weights: Mapping[str, float] | None, *, report: Sequence[str], data: str
) -> tuple[dict[ImageId, str], dict[str, Any]]:
    """Score the first captions of the half that was not tuned, and those that the weights choose; print both.

    Returns:
        The chosen captions, and what --json writes.
    """
    import numpy as np

    from captioning.metrics import CocoScorer
    from captioning.reports.result import print_scores
    from captioning.reranking.mert import winners

    scorer = CocoScorer({image_id: references[image_id] for image_id in half.image_ids}, metrics=report)
    first = half.chosen(np.zeros(len(half.image_ids), np.int64))
    captions = {"first": first}
    if weights is not None:
        captions["reranked"] = half.chosen(winners(half.features, np.array(list(weights.values()))))
    results = _results(captions, scorer, {"data": data, "half": "scored", **scorer.signature()})
    for name, result in results.items():
        print_scores(result, title=f"{TITLES[name]} captions of the scored half")
    perplexity = _perplexity(half)
    if perplexity is not None:
        print(f"perplexity of the references of the scored half: {perplexity:.2f}")
    language_model = {} if perplexity is None else {"perplexity": perplexity}
    return captions.get("reranked", first), {**results, **language_model, "weights": weights}


def _results(
    captions: Mapping[str, Mapping[ImageId, str]], scorer: CocoScorer, signature: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Score the first captions, and compare the others with them."""
    from captioning.reports.result import Result

    scores = {name: scorer.score(own) for name, own in captions.items()}
    first = ("first captions", scores["first"])
    return {
        name: Result(own, captions[name], signature, compared_with=None if name == "first" else first).content
        for name, own in scores.items()
    }


def _perplexity(half: NBest) -> float | None:
    """Compute the model's perplexity on the references; None if the lists do not say what they need for it."""
    nats, num_tokens = (0.0, 0.0) if half.losses is None else half.losses.sum(0).tolist()
    if not num_tokens:
        return None
    try:
        return math.exp(nats / num_tokens)
    except OverflowError:
        return math.inf
