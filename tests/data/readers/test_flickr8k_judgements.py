"""People's judgements are read as published, and a broken line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.data.readers.flickr8k_judgements import Judged, read_crowd, read_experts
from captioning.errors import InputError

CAPTIONS = {"a.jpg": ("a dog runs", "a brown dog"), "b.jpg": ("two cats",)}
EXPERTS = "a.jpg\tb.jpg#0\t1\t1\t2\nb.jpg\ta.jpg#1\t4\t3\t4\n"
CROWD = "a.jpg\ta.jpg#1\t0.666666666667\t2\t1\n"


def test_experts_give_three_ratings_and_the_crowd_its_share_of_yes(tmp_path: Path) -> None:
    (tmp_path / "Flickr8k_text").mkdir()
    (tmp_path / "Flickr8k_text" / "ExpertAnnotations.txt").write_text(EXPERTS)
    (tmp_path / "CrowdFlowerAnnotations.txt").write_text(CROWD)
    assert read_experts(tmp_path, CAPTIONS) == [
        Judged("a.jpg", "two cats", (1.0, 1.0, 2.0)),
        Judged("b.jpg", "a brown dog", (4.0, 3.0, 4.0)),
    ]
    assert read_crowd(tmp_path, CAPTIONS) == [Judged("a.jpg", "a brown dog", (0.666666666667,))]


@pytest.mark.parametrize(
    "line",
    [
        "a.jpg b.jpg#0 1 1 2",
        "a.jpg\tb.jpg#0\t1\t1",
        "a.jpg\tb.jpg#1\t1\t1\t2",
        "a.jpg\tc.jpg#0\t1\t1\t2",
        "a.jpg\tb.jpg#0\t1\t1\tx",
        "a.jpg\tb.jpg#-1\t1\t1\t2",
        "a.jpg\tb.jpg#0\t1\t1\tnan",
        "a.jpg\tb.jpg#0\t1\t1\t9",
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ExpertAnnotations.txt").write_text(f"{EXPERTS}\n{line}\n")
    with pytest.raises(InputError, match=r"ExpertAnnotations.txt:4: expected an image, the id of a caption"):
        read_experts(tmp_path, CAPTIONS)


def test_an_image_without_captions_and_a_missing_file_are_reported(tmp_path: Path) -> None:
    (tmp_path / "ExpertAnnotations.txt").write_text("c.jpg\tb.jpg#0\t1\t1\t2\n")
    with pytest.raises(InputError, match=r":1: c.jpg has no captions"):
        read_experts(tmp_path, CAPTIONS)
    with pytest.raises(InputError, match=r"no CrowdFlowerAnnotations.txt"):
        read_crowd(tmp_path, CAPTIONS)
