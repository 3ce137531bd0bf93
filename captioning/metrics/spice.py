"""SPICE: how well the propositions of a caption and of its references agree, by the authors' Java program.

Source: Anderson et al. 2016, "SPICE: Semantic Propositional Image Caption Evaluation", ECCV, arXiv:1607.08822.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.spice import spice as reference

from captioning.errors import InputError
from captioning.metrics.checks import check_candidates, check_references
from captioning.metrics.metric import Metric
from captioning.metrics.originals import java
from captioning.metrics.resources import Resources

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_ARCHIVE = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


class Spice(Metric):
    """SPICE by pycocoevalcap's jar; the score of a corpus is the mean of the images' F-scores.

    The jar needs two files of Stanford CoreNLP that pycocoevalcap does not contain. Nothing is downloaded here.

    Statistics, S = 2: the image's F-score, and 1.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: CoreNLP's files are missing; the message says how to get them. There is no image, or an image has
            no reference.
    """

    names = ("SPICE",)
    version = f"SPICE 1.0, pycocoevalcap {version('pycocoevalcap')}"

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self.check(())
        self._references = references
        self._jar = java.file_beside(reference, reference.SPICE_JAR)

    @classmethod
    def of(cls, resources: Resources) -> Self:  # noqa: D102
        return cls(resources.tokens)

    @classmethod
    def check(cls, given: Collection[str]) -> None:  # noqa: ARG003, D102
        library = java.file_beside(reference, reference.SPICE_JAR).parent / "lib"
        if missing := [name for name in CORENLP if not (library / name).is_file()]:
            raise InputError(
                f"SPICE needs {' and '.join(missing)} in {library}. Leave SPICE out, or get them once (380 MB):\n"
                f"  curl -LO {_ARCHIVE}\n"
                f"  unzip -j {Path(_ARCHIVE).name} '*/{CORENLP[0]}' '*/{CORENLP[1]}' -d {library}"
            )

    def statistics(self, candidates: Sequence[str]) -> NDArray[np.float64]:  # noqa: D102
        check_candidates(candidates, len(self._references))
        request = [
            {"image_id": row, "test": candidate, "refs": list(references)}
            for row, (candidate, references) in enumerate(zip(candidates, self._references, strict=True))
        ]
        with tempfile.TemporaryDirectory() as folder:
            question, answer = Path(folder, "in.json"), Path(folder, "out.json")
            question.write_text(json.dumps(request), encoding="utf-8")
            packages = (f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "math"))
            options = ("-cache", folder, "-out", answer, "-subset", "-silent")
            with java.start("-Xmx8G", *packages, "-jar", self._jar, question, *options) as process:
                try:
                    _, errors = process.communicate()
                except BaseException:
                    process.kill()
                    raise
            if process.returncode != 0 or not answer.is_file():
                raise InputError(
                    f"SPICE's Java ended with code {process.returncode}; it needs up to 8 GB of memory. "
                    f"Java said: {errors.decode(errors='replace')[:1000] or 'nothing'}"
                )
            answers = json.loads(answer.read_text(encoding="utf-8"))
        scores = {found["image_id"]: float(found["scores"]["All"]["f"]) for found in answers}
        return np.array([(scores[row], 1.0) for row in range(len(candidates))])

    @staticmethod
    def scores(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return totals[..., :1] / totals[..., 1:]
