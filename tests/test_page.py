"""The page of pictures and captions stands alone, and shows text as text."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from captioning.data.example import CaptionedImage
from captioning.evaluation import Evaluation, Prediction
from captioning.metrics import Scores
from captioning.page import write_page

EVIL = "a <script>alert('x')</script> & \"quotes\""
METRICS = {
    "metrics": {"CIDEr": 0.9375},
    "signature": {"data": "<b>tiny</b>", "split": "val", "num_images": 2, "search": {"name": "BeamSearch"}},
}


@pytest.fixture
def page(tmp_path: Path) -> str:
    images = []
    for n in (1, 2):
        Image.new("RGB", (900, 600), (200 * (n - 1), 0, 0)).save(tmp_path / f"{n}.png")
        images.append(CaptionedImage(n, tmp_path / f"{n}.png", (EVIL, "a plain one")))
    predictions = tuple(Prediction(n, caption, -1.5, True, 2.0, 3, 0) for n, caption in ((1, EVIL), (2, "")))
    scores = Scores({"CIDEr": 0.9375}, {1: {"CIDEr": 0.25}, 2: {"CIDEr": 1.5}})
    write_page(tmp_path / "page.html", images, Evaluation(predictions, scores, 0.5, {}), METRICS)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_captions_references_and_names_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert "<b>" not in page
    assert html.unescape(page).count(EVIL) == 4  # the caption, its picture's description, two references


def test_every_example_has_its_picture_caption_figures_and_references(page: str) -> None:
    articles = page.split("<article>")[1:]
    assert len(articles) == 2
    assert "CIDEr 0.25" in articles[0]
    assert "(empty)" in articles[1]
    assert all("a plain one" in article and "log-probability -1.50" in article for article in articles)
    assert "0.938" in page  # of the split, as a fraction


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in pictures]
    assert sizes == [(480, 320), (480, 320)]
