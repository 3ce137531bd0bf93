"""captioning rerank: choose among the M best captions of each image by weights of their features."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, positive
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from captioning.metrics.files import ImageId
    from captioning.reranking import NBest
    from captioning.reranking.mert import Floats, Integers, Score

SCORES = {"bleu": ("BLEU", "BLEU-4"), "cider": ("CIDEr", "CIDEr")}
"""The metric and its score that each choice of --metric names."""

DESCRIPTION = """Choose among the M best captions of each image by weights of their features. Minimum error rate
training (Och 2003) tunes the weights on one half of the images for BLEU-4 or CIDEr. The other half is scored.
Which half an image is in depends on its id alone, and on which other images there are.
NBEST       [{"image_id": 42, "hypotheses": [{"caption": "a dog", "features": {"length": 2}}, ...]}, ...]; the
            search's best caption of each image comes first
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
    add("--restarts", type=positive, default=20, metavar="N", help="starts of the search for weights (default: 20)")
    add("--seed", type=natural, default=0, metavar="N", help="seed of the starts (default: 0)")
    add("--out", type=Path, metavar="FILE", help="write the captions of the scored half, in COCO's results format")
    rerank(parser.parse_args(arguments))
    return 0


@dataclass(frozen=True)
class _Half:
    """Half of the images.

    Attributes:
        lists: their M-best lists.
        features: (I, M, J).
        statistics: (I, M, S).
        score: what is maximised, of sums of statistics.
    """

    lists: NBest
    features: Floats
    statistics: Floats
    score: Score

    def score_of(self, chosen: Integers) -> float:
        """Score one caption of each image, by its position."""
        return float(self.score(self.statistics[range(len(chosen)), chosen].sum(0)))


def rerank(options: argparse.Namespace) -> None:
    """Tune weights on one half of `options.nbest`, and score and write what they choose from the other."""
    import numpy as np

    from captioning.files.atomic import write_json
    from captioning.reranking.mert import tune, winners
    from captioning.reranking.nbest import halves

    if options.out is not None and not options.out.parent.is_dir():
        folder = shown(options.out.parent, 300)
        raise InputError(f"{folder}: no such folder to write {shown(options.out.name)} to; make it, or choose another")
    lists, references = _read(options)
    tuning, scored = (_half(lists, references, images, options.metric) for images in halves(lists.image_ids))
    tuned = tune(tuning.features, tuning.statistics, tuning.score, restarts=options.restarts, seed=options.seed)
    chosen = winners(scored.features, tuned.weights)
    first = scored.score_of(np.zeros_like(chosen))
    rows = [("tuned", tuning, tuned.start, tuned.score), ("scored", scored, first, scored.score_of(chosen))]
    _print(SCORES[options.metric][1], rows, dict(zip(lists.names, tuned.weights.tolist(), strict=True)))
    if options.out is not None:
        captions = scored.lists.chosen(chosen)
        write_json(options.out, [{"image_id": image, "caption": caption} for image, caption in captions.items()])
        print(f"{len(captions):,} captions written to {options.out}")


def _read(options: argparse.Namespace) -> tuple[NBest, dict[ImageId, Sequence[str]]]:
    """Read the lists and the references, with the references' ids for the images of the lists."""
    from captioning.metrics.files import read_references
    from captioning.metrics.image_names import match_ids
    from captioning.reranking.nbest import in_order, read_nbest

    lists, where = read_nbest(options.nbest), shown(options.nbest, 300)
    references = read_references(options.references, options.split)
    try:
        found = match_ids(options.references, references, dict.fromkeys(lists.image_ids, ""))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    lists = replace(lists, image_ids=tuple(found))
    return lists, dict(zip(lists.image_ids, in_order(lists, references, where), strict=True))


def _half(lists: NBest, references: dict[ImageId, Sequence[str]], images: Integers, name: str) -> _Half:
    from captioning.metrics.resources import Resources
    from captioning.metrics.table import METRICS
    from captioning.reranking.mert import maximised

    metric_name, score_name = SCORES[name]
    own, kind = lists.select(images), METRICS[metric_name]
    text = {image_id: references[image_id] for image_id in own.image_ids}
    tokens = text if kind.tokenizer is None else kind.tokenizer.tokenize(text)
    metric = kind.of(Resources(list(text.values()), list(tokens.values())))
    return _Half(own, own.values[own.rows], own.statistics(metric), maximised(metric, score_name))


def _print(name: str, rows: Sequence[tuple[str, _Half, float, float]], weights: dict[str, float]) -> None:
    from rich.table import Table

    from captioning.reports.tables import console

    scores = Table("half", "images", f"{name} of first captions", "re-ranked", title=f"re-ranked for {name}")
    for half, own, first, reranked in rows:
        scores.add_row(half, f"{len(own.lists.image_ids):,}", f"{first:.4f}", f"{reranked:.4f}")
    found = Table("feature", "weight")
    for feature, weight in weights.items():
        found.add_row(feature, f"{weight:.6g}")
    console().print(scores, found)
