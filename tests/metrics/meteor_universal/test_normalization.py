"""Texts are split into the same words as by the jar."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from captioning.metrics.meteor_universal.normalization import Normalizer

_PIECES = (
    "a word Word Mr. No. pp. e.g. U.S. i.e Inc. St. 5 3. 3.5. a.b. 1.2. 1,000 10,a a,b , . .. ... don't 1990's 'tis "
    "' '' a-b x--y - -- – — ` ‘ ’ “ ” \" & | @ é Š Ж Σ İ 😀 \u00a0 \u2003 \x1c\x1d mother-in-law's"
)


@pytest.fixture(scope="module")
def normalize() -> Normalizer:
    return Normalizer()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("A dog.", ["a", "dog", "."]),
        ("the U.S. flag", ["the", "us", "flag"]),
        ("Mr. Smith", ["mr.", "smith"]),
        ("No. 5, No. Yes", ["no.", "5", ",", "no", ".", "yes"]),
        ("1,000 dogs, cats", ["1,000", "dogs", ",", "cats"]),
        ("don't", ["don", "'t"]),
        ("the 1990's", ["the", "1990", "'s"]),
        ("mother-in-law", ["mother", "in", "law"]),
        ("wait...", ["wait", "..."]),
        ("“quoted” ''so''", ['"', "quoted", '"', '"', "so", '"']),
    ],
)
def test_words(normalize: Normalizer, text: str, words: list[str]):
    assert normalize(text) == words


def assert_words_equal_the_jars(normalize: Normalizer, lines: list[str], run_in_jar: Callable[..., list[str]]) -> None:
    found = run_in_jar(lines, "edu.cmu.meteor.util.Normalizer", "english", "true")
    for line, normalized in zip(lines, found, strict=True):
        assert normalize(line) == re.findall("[^ \t]+", normalized.lower()), ascii(line)


def test_words_equal_the_jars(normalize: Normalizer, hard_captions: list[str], run_in_jar: Callable[..., list[str]]):
    generator = random.Random(0)
    lines = [caption.replace("\n", " ").strip() for caption in hard_captions]
    for _ in range(3000):
        pieces = generator.choices(_PIECES.split(" "), k=generator.randint(1, 7))
        lines.append(generator.choice(["", " ", " "]).join(pieces).strip())
    assert_words_equal_the_jars(normalize, lines, run_in_jar)


@pytest.mark.shared
def test_words_equal_the_jars_on_flickr8k(normalize: Normalizer, shared: Path, run_in_jar: Callable[..., list[str]]):
    text = (shared / "data" / "flickr8k" / "Flickr8k.token.txt").read_text(encoding="utf-8")
    lines = [line.split("\t")[1].strip() for line in text.splitlines()]
    assert len(lines) >= 30000
    assert_words_equal_the_jars(normalize, lines, run_in_jar)
