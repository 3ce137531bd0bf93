"""Captions have the same statistics and scores as in the jar."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import tokenize
from captioning.metrics.meteor_universal import MeteorUniversal
from captioning.metrics.meteor_universal.score import score

Jar = Callable[..., tuple[NDArray[np.float64], list[float], float]]  # statistics, scores, score of the corpus

# Few words, some of them related, so that many alignments compete and the beam overflows.
_VOCABULARY = (
    "a the dog dogs hound runs running is by near next to close large big group of bunch many man men people sits on "
    "sitting top it . , 's - \" bike bicycle"
)


@pytest.fixture
def scorer(small_table: None) -> MeteorUniversal:
    return MeteorUniversal()


@pytest.fixture(scope="module")
def whole_scorer() -> MeteorUniversal:
    return MeteorUniversal()


def assert_equals_jar(scorer: MeteorUniversal, jar: Jar, candidates: list[str], references: list[list[str]]) -> None:
    statistics, scores, corpus = jar(candidates, references)
    found = scorer.statistics(candidates, references)
    np.testing.assert_array_equal(found, statistics)
    np.testing.assert_allclose(score(found), scores, rtol=0, atol=1e-6)
    assert score(found.sum(0)) == pytest.approx(corpus, abs=1e-6)


def test_hard_captions_equal_the_jars(scorer: MeteorUniversal, jar: Jar, hard_captions: list[str]):
    tokens = [caption for (caption,) in tokenize({c: [c] for c in hard_captions}).values()]
    references = [[tokens[index - 1], tokens[index - 2], candidate[:-2]] for index, candidate in enumerate(tokens)]
    assert_equals_jar(scorer, jar, tokens, references)


def test_untokenized_captions_equal_the_jars(scorer: MeteorUniversal, jar: Jar, hard_captions: list[str]):
    references = [[hard_captions[index - 1], caption[2:]] for index, caption in enumerate(hard_captions)]
    assert_equals_jar(scorer, jar, hard_captions, references)


def test_two_spaces_become_one_only_in_candidates(scorer: MeteorUniversal, jar: Jar):
    texts = ["é,  ,é", "a |||  b,  ,b", "é,é"]
    assert_equals_jar(scorer, jar, texts, [texts] * 3)
    (row,) = scorer.statistics(["é,  ,é"], [["é,  ,é"]])
    assert list(row[:2]) == [3, 4]


@pytest.mark.parametrize("seed", range(2))
def test_captions_with_many_alignments_equal_the_jars(scorer: MeteorUniversal, jar: Jar, seed: int):
    generator = random.Random(seed)

    def caption(words: list[str]) -> str:
        return " ".join(generator.choices(words, k=generator.randint(0, 16)))

    vocabularies = [generator.sample(_VOCABULARY.split(), generator.randint(2, 9)) for _ in range(100)]
    candidates = [caption(words) for words in vocabularies]
    references = [[caption(words) for _ in range(generator.randint(1, 3))] for words in vocabularies]
    assert_equals_jar(scorer, jar, candidates, references)


@pytest.mark.usefixtures("small_table")
def test_no_java_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    scorer = MeteorUniversal()
    assert score(scorer.statistics(["large dog"], [["big hound"]])) > 0


def test_statistics_are_those_of_the_best_reference(scorer: MeteorUniversal):
    candidates = ["a dog runs", "two men"]
    alone = scorer.statistics(candidates, [["a dog runs"], ["two men sit"]])
    among = scorer.statistics(candidates, [["no", "a dog runs", "dog"], ["two men sit", "men sit down", "two men sat"]])
    np.testing.assert_array_equal(among, alone)


def test_images_do_not_affect_each_other(scorer: MeteorUniversal):
    candidates, references = ["many hounds", "a big hound", ""], [["a group of dogs"], ["the large dog"], ["near"]]
    together = scorer.statistics(candidates, references)
    for row, candidate, group in zip(together, candidates, references, strict=True):
        np.testing.assert_array_equal(scorer.statistics([candidate], [group]), row[None, :])


def test_wrong_input_is_reported(scorer: MeteorUniversal):
    with pytest.raises(InputError, match="found 2 and 1"):
        scorer.statistics(["a", "b"], [["a"]])
    with pytest.raises(InputError, match="found 0 and 0"):
        scorer.statistics([], [])
    with pytest.raises(InputError, match="expected at least one reference for each candidate; 1 have none"):
        scorer.statistics(["a", "b"], [["a"], []])


def assert_humans_equal_jar(scorer: MeteorUniversal, jar: Jar, captions: dict[str, list[str]]) -> None:
    """Score the first caption of each image against the others."""
    groups = tokenize(captions).values()
    assert_equals_jar(scorer, jar, [group[0] for group in groups], [group[1:] for group in groups])


@pytest.mark.shared
def test_captions_of_flickr8k_dev_equal_the_jars(whole_scorer: MeteorUniversal, whole_jar: Jar, shared: Path):
    folder = shared / "data" / "flickr8k"
    captions: dict[str, list[str]] = {name: [] for name in (folder / "Flickr_8k.devImages.txt").read_text().split()}
    for line in (folder / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        if name.split("#")[0] in captions:
            captions[name.split("#")[0]].append(caption)
    assert len(captions) == 1000
    assert_humans_equal_jar(whole_scorer, whole_jar, captions)


@pytest.mark.shared
def test_captions_of_coco_val2017_equal_the_jars(whole_scorer: MeteorUniversal, whole_jar: Jar, shared: Path):
    path = shared / "data" / "coco_captions" / "captions_val2017.json"
    captions: dict[str, list[str]] = {}
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    assert len(captions) == 5000
    assert_humans_equal_jar(whole_scorer, whole_jar, captions)
