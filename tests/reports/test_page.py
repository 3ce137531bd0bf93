"""The page of images and captions stands alone, and shows text as text."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captioning.data.example import CaptionedImage
from captioning.evaluation.predictions import Evaluation, Prediction
from captioning.metrics import Scores
from captioning.reports.page import write_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "a <script>alert('x')</script> & \"quotes\""
METRICS = {
    "metrics": {"CIDEr": 0.9375},
    "signature": {"data": "<b>tiny</b>", "split": "val", "num_images": 2, "search": {"name": "BeamSearch"}},
}
EVALUATION = Evaluation(
    tuple(Prediction(n, caption, -1.5, True, 2.0, 3, 0) for n, caption in ((1, EVIL), (2, ""))),
    Scores({"CIDEr": 0.9375}, {1: {"CIDEr": 0.25}, 2: {"CIDEr": 1.5}}),
    loss=0.5,
    bits_per_character=1.5,
    tokens_per_caption=4.0,
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
    assert page.count("<script") == 1  # the page's own
    assert "<b>" not in page
    assert html.unescape(page).count(EVIL) == 7  # the image's description, twice the caption, four times a reference


def test_every_example_has_its_image_caption_figures_and_references(page: str) -> None:
    articles = page.split("<article>")[1:]
    assert len(articles) == 2
    assert "CIDEr 0.25" in articles[0]
    assert "(empty)" in articles[1]
    assert all("a plain one" in article and "log-probability -1.50" in article for article in articles)
    assert "0.938" in page  # of the split, as a fraction


def test_an_image_that_cannot_be_read_leaves_its_place_and_a_warning(
    page: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"junk")
    images = [CaptionedImage(n, tmp_path / f"{n}.png", ("a plain one",)) for n in (1, 2)]
    write_page(tmp_path / "page.html", images, EVALUATION, METRICS)
    without = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img" not in without
    assert without.count('<div class="missing">no image</div>') == 2
    assert without.count("a plain one") == 4  # beside the images' places and in the table
    assert "no image" not in page
    (warning,) = caplog.messages
    assert "2 of 2 images are not shown; the first: " in warning
    assert "1.png: no such file" in warning


def test_figures_have_their_intervals_where_there_are_some(page: str, tmp_path: Path) -> None:
    assert 'class="interval"' not in page
    signature = METRICS["signature"] | {"bootstrap": {"num_replicates": 10, "seed": 0, "confidence": 0.9}}
    metrics = METRICS | {"intervals": {"CIDEr": [0.75, 1.25]}, "signature": signature}
    write_page(tmp_path / "page.html", [CaptionedImage(1, tmp_path / "1.png", ("x",))], EVALUATION, metrics)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "0.750–1.250" in text
    assert "90 % bootstrap confidence intervals" in text


def test_a_small_split_has_no_extremes_and_a_larger_one_has_the_best_median_and_worst(
    page: str, tmp_path: Path
) -> None:
    assert re.findall(r"<h2 id=\"(\w+)", page) == ["spread", "every"]
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    images = [CaptionedImage(n, tmp_path / "image.png", ("x",)) for n in range(31)]
    ciders = {n: 7 * n % 31 / 10 for n in range(31)}  # every tenth from 0 to 3, in no order
    evaluation = replace(
        EVALUATION,
        predictions=tuple(Prediction(n, f"caption {n}", -1.5, True, 2.0, 3, 0) for n in range(31)),
        scores=Scores({"CIDEr": 1.5}, {n: {"CIDEr": cider} for n, cider in ciders.items()}),
    )
    write_page(tmp_path / "page.html", images, evaluation, METRICS, examples=3)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    parts = re.split(r"<h2 id=\"(\w+)", text)
    shown = {
        name: re.findall(r"(\d+) · CIDEr ([\d.]+)", part) for name, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert [int(n) for n, _ in shown.pop("spread")] == [0, 10, 20]
    assert shown.pop("every") == []
    assert {name: [float(cider) for _, cider in found] for name, found in shown.items()} == {
        "best": [3.0, 2.9, 2.8, 2.7, 2.6],
        "median": [1.7, 1.6, 1.5, 1.4, 1.3],
        "worst": [0.0, 0.1, 0.2, 0.3, 0.4],
    }
    bars = [int(count) for count in re.findall(r"<title>(\d+) images", text)]
    assert sum(bars) == 31


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("script", "count", "order"),
    [
        ("", "2 of 2", ["1", "2"]),
        ("heads[2].firstChild.click(); heads[2].firstChild.click()", "2 of 2", ["2", "1"]),  # by CIDEr, falling
        ("heads[1].firstChild.click()", "2 of 2", ["2", "1"]),  # by caption: (empty) before a
        ('search.value = "EMPTY plain"; search.dispatchEvent(new Event("input"))', "1 of 2", ["2"]),
    ],
)
def test_in_a_browser_captions_are_searched_and_sorted(
    page: str, tmp_path: Path, script: str, count: str, order: list[str]
) -> None:
    path = tmp_path / "page.html"
    path.write_text(page.replace("</html>", f"<script>{script}</script></html>"), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser", "--dump-dom")
    assert BROWSER is not None
    ran = subprocess.run([BROWSER, *options, path.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    assert f'<span id="count">{count}</span>' in ran.stdout
    body = ran.stdout.split("<tbody>")[-1].split("</tbody>")[0]
    assert re.findall(r"<tr><td>(\d+)</td>", body) == order  # a row that is not shown is <tr hidden>


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in pictures]
    assert sizes == [(480, 320), (480, 320)]
