"""SPICE: how many propositions of the references' scene graphs a caption makes. By its authors' Java program.

Source: Anderson et al. 2016, "SPICE: Semantic Propositional Image Caption Evaluation", ECCV, arXiv:1607.08822.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.spice import spice as reference

from captioning.errors import InputError
from captioning.metrics.metric import Metric, check_candidates, check_references
from captioning.metrics.originals import java

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_ARCHIVE = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


class Spice(Metric):
    """SPICE, by pycocoevalcap's jar; a corpus's is the mean of the images' F.

    The jar needs two files of Stanford CoreNLP that its package does not hold; nothing is downloaded here.

    Statistics, S = 2: the image's F, and 1.

    Args:
        references: the tokenized references of each image.

    Raises:
        InputError: CoreNLP's files are missing, which says how to get them; there is no image, or one has no
            reference.
    """

    names = ("SPICE",)
    version = f"SPICE 1.0, pycocoevalcap {version('pycocoevalcap')}"

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        check_references(references)
        self._references = references
        self._jar = java.file_beside(reference, reference.SPICE_JAR)
        library = self._jar.parent / "lib"
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
            asked, answered = Path(folder, "in.json"), Path(folder, "out.json")
            asked.write_text(json.dumps(request), encoding="utf-8")
            opened = (f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "math"))
            options = ("-cache", folder, "-out", answered, "-subset", "-silent")
            with java.start("-Xmx8G", *opened, "-jar", self._jar, asked, *options) as process:
                try:
                    _, errors = process.communicate()
                except BaseException:
                    process.kill()
                    raise
            if process.returncode != 0 or not answered.is_file():
                raise InputError(
                    f"SPICE's Java ended with code {process.returncode}; it needs up to 8 GB of memory. "
                    f"Java said: {errors.decode(errors='replace')[:1000] or 'nothing'}"
                )
            answers = json.loads(answered.read_text(encoding="utf-8"))
        scores = {answer["image_id"]: float(answer["scores"]["All"]["f"]) for answer in answers}
        return np.array([(scores[row], 1.0) for row in range(len(candidates))])

    @staticmethod
    def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: D102
        return totals[..., :1] / totals[..., 1:]
