"""The pointing game in a result: names of scores, tables, and what is said of words that are left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioning.evaluation.pointing import Pointing, Target
from captioning.metrics.pointing import SOURCES
from captioning.reports.pointing import with_pointing
from captioning.reports.scores import ScoreResult

RESULT = ScoreResult(
    scores={"recall": 0.5}, intervals={}, signature={"data": "scenes", "split": "val", "num_images": 5}, notes=["a"]
)
WORDS = tuple(
    Target(text, kind, 0, 0, known, (0,))
    for text, kind, known in (
        ("red", "colour", True), ("ball", "shape", True), ("red", "colour", True), ("hoop", "shape", False)
    )
)  # fmt: skip
HITS = np.array([[1, 1, 0, 0.1, 1, 0], [0, 1, 0, 0.2, 1, 1], [1, 1, 0, 0.1, 1, 0], [0, 0, 0.5, 0.2, 1, 0]])
FOUND = Pointing(WORDS, np.array([0, 0, 3, 3]), HITS, 0.25, 5, {"have no token": 2})


def test_the_model_s_share_is_a_score_and_the_others_are_details() -> None:
    own = with_pointing(RESULT, FOUND)
    assert own.scores == {"recall": 0.5, "pointing": 0.5}
    assert own.details["pointing grid_cells"] == 0.75
    assert own.details["pointing chance"] == pytest.approx(0.15)
    assert own.details["pointing colour"] == 1
    assert own.details["pointing shape"] == 0
    assert own.details["pointing shape whole_image"] == 0.5
    assert set(own.details) == {
        *(f"pointing {source}" for source in SOURCES[1:]),
        *(f"pointing {kind}{own}" for kind in ("colour", "shape") for own in ("", " grid_cells", " whole_image")),
    }
    assert own.intervals.keys() == own.details.keys() | {"pointing"}
    assert own.intervals["pointing colour"].low == 1
    assert own.signature == {**RESULT.signature, "pointing_words": 4, "beta": 0.25}


def test_words_of_one_kind_are_not_repeated() -> None:
    nouns = replace(FOUND, words=tuple(replace(word, kind="noun") for word in WORDS))
    own = with_pointing(RESULT, nouns)
    assert set(own.details) == {f"pointing {source}" for source in SOURCES[1:]}
    assert own.notes[1] == "pointing: 4 noun words of 2 of 5 images"


def test_the_tables_have_a_row_for_each_kind_and_for_each_word(tmp_path: Path) -> None:
    with_pointing(RESULT, FOUND).write(tmp_path)
    rows = [line.split(",") for line in (tmp_path / "pointing.csv").read_text().splitlines()]
    assert rows[0] == ["kind", "words", "images", "source", "share", "low", "high"]
    kinds = (("all", "4"), ("colour", "2"), ("shape", "2"))
    assert [row[:4] for row in rows[1:]] == [[kind, words, "2", source] for kind, words in kinds for source in SOURCES]
    assert (tmp_path / "pointing_words.csv").read_text().splitlines() == [
        "word,kind,words,images,model,grid_cells,centre,chance,bound,whole_image",
        "red,colour,2,2,1.0,1.0,0.0,0.1,1.0,0.0",
        "ball,shape,1,1,0.0,1.0,0.0,0.2,1.0,1.0",
        "hoop,shape,1,1,0.0,0.0,0.5,0.2,1.0,0.0",
    ]
    assert json.loads((tmp_path / "metrics.json").read_text())["details"]["pointing bound"] == 1


def test_what_is_left_out_and_what_is_unknown_is_counted() -> None:
    assert with_pointing(RESULT, FOUND).notes == [
        "a",
        "pointing: 4 colour and shape words of 2 of 5 images",
        "pointing: 1 of these words are not in the vocabulary; the model aligns <unk>",
        "pointing: 2 further words are left out: they have no token",
    ]
