"""Scorers of a split's references, from plain arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.evaluation.scorer import build_scorer
from captioning.metrics import CocoScorer
from captioning.metrics.document_frequencies import DocumentFrequencies

REFERENCES = {1: ["a dog runs"], 2: ["a red bus", "the bus"]}
CAPTIONS = {1: "a dog", 2: "a bus"}


def test_a_scorer_has_the_metrics_and_frequencies_that_are_given() -> None:
    frequencies = DocumentFrequencies(9, {"a": 5})
    found = build_scorer(REFERENCES, names=["CIDEr"], frequencies=frequencies)
    expected = CocoScorer(REFERENCES, metrics=["CIDEr"], frequencies=frequencies)
    assert found.score(CAPTIONS) == expected.score(CAPTIONS)
    assert found.signature() == expected.signature()


def test_clip_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the files of a CLIP model"):
        build_scorer(REFERENCES, names=["CLIPScore"], clip=tmp_path, images=[Path("1.jpg"), Path("2.jpg")])


def test_clip_score_without_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="CLIPScore needs a CLIP model"):
        build_scorer(REFERENCES, names=["CLIPScore"], images=[Path("1.jpg"), Path("2.jpg")])
