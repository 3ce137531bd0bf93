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
EVALUATION = Evaluation(
    tuple(Prediction(n, caption, -1.5, True, 2.0, 3, 0) for n, caption in ((1, EVIL), (2, ""))),
    Scores({"CIDEr": 0.9375}, {1: {"CIDEr": 0.25}, 2: {"CIDEr": 1.5}}),
    loss=0.5,
    signature={},
)


@pytest.fixture
def page(tmp_path: Path) -> str:
    images = []
    for n in (1, 2):
        Image.new("RGB", (900, 600), (200 * (n - 1), 0, 0)).save(tmp_path / f"{n}.png")
        images.append(CaptionedImage(n, tmp_path / f"{n}.png", (EVIL, "a plain one")))
    write_page(tmp_path / "page.html", images, EVALUATION, METRICS)
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


def test_a_picture_that_cannot_be_read_leaves_its_place_and_a_warning(
    page: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"junk")
    images = [CaptionedImage(n, tmp_path / f"{n}.png", ("a plain one",)) for n in (1, 2)]
    write_page(tmp_path / "page.html", images, EVALUATION, METRICS)
    without = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img" not in without
    assert without.count('<div class="missing">no picture</div>') == without.count("a plain one") == 2
    assert "no picture" not in page
    (warning,) = caplog.messages
    assert "2 of 2 pictures are not shown; the first: " in warning
    assert "1.png: no such file" in warning


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in pictures]
    assert sizes == [(480, 320), (480, 320)]
