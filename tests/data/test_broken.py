"""Broken images are found before they are needed, and skipped only on request."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from PIL import Image

from captioning.data import broken
from captioning.data.broken import without_broken
from captioning.data.example import CaptionedImage
from captioning.errors import InputError


@pytest.fixture
def split(tmp_path: Path) -> list[CaptionedImage]:
    """Five images, of which two are broken."""
    for number in range(5):
        Image.effect_noise((40, 30), 50).save(tmp_path / f"{number}.jpg")
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "3.jpg").write_bytes(b"<html>")
    return [CaptionedImage(n, tmp_path / f"{n}.jpg", ("a dog",)) for n in range(5)]


def test_broken_images_are_counted_and_described(split: list[CaptionedImage]) -> None:
    with pytest.raises(
        InputError, match=r"^2 of 5 images .*1\.jpg: .*truncated.*3\.jpg: not an image.*data\.skip_broken=true"
    ):
        without_broken(split, skip=False)


@pytest.mark.parametrize("few", [1000, 0])  # in this process, and in others
def test_skipped_images_are_counted_and_named(
    split: list[CaptionedImage], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(broken, "_FEW", few)
    assert [image.image_id for image in without_broken(split, skip=True)] == [0, 2, 4]
    assert caplog.text.count("skipped: ") == 2
    assert "2 of 5 images cannot be read and are skipped" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_split_of_broken_images_alone_is_refused(split: list[CaptionedImage]) -> None:
    with pytest.raises(InputError, match="1 of 1 images cannot be read"):
        without_broken(split[3:4], skip=True)


def test_sentences_are_not_opened() -> None:
    sentence = CaptionedImage(1, Path("absent.de"), (), text="ein hund")
    assert without_broken([sentence], skip=False) == [sentence]


def test_random_numbers_of_the_run_stay(split: list[CaptionedImage]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    without_broken(split, skip=True)
    assert torch.equal(torch.rand(1), expected)
