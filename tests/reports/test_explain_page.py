"""The page that explains captions: self-contained, escaped and bounded; and in a browser, by mouse and by keyboard."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import DOWN, ENTER, ESCAPE, LEFT, RIGHT, TAB, Browser, in_browser, started
from matplotlib import colormaps
from numpy.testing import assert_array_equal
from PIL import Image

from captioning.model.explanation import Alternative, Branch, Edit, ExplainedCaption, Explanation, Word
from captioning.reports.explain_page import Explained, write_explanation
from captioning.search.beam_record import Outcome

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'"
EDIT = Edit(text=f"a {EVIL} runs", log_prob=-4.25, mean=-1.0625, finished=True)


def word(text: str, *, attention: bool = True, last: bool = False) -> Word:
    choices = (
        Alternative(text=text, probability=0.5, rank=1, chosen=True, forbidden=False),
        Alternative(text=EVIL, probability=0.25, rank=2, chosen=False, forbidden=False, edit=EDIT),
        Alternative(text="<unk>", probability=0.2, rank=3, chosen=False, forbidden=True),
        Alternative(text="cat", probability=0.05, rank=4, chosen=False, forbidden=False),
    )
    weights = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.5, 0.0]]) if last else torch.full((2, 3), 1 / 6)
    return Word(text=text, probability=0.5, alternatives=choices, attention=weights if attention else None)


def branch(text: str, step: int, parent: int | None, log_prob: float, outcome: Outcome, best: bool = False) -> Branch:
    name = "Forbid" if outcome is Outcome.FORBIDDEN else None
    return Branch(text=text, step=step, parent=parent, log_prob=log_prob, outcome=outcome, forbidden_by=name, best=best)


def explanation(*, attention: bool = True, tree: bool = True) -> Explanation:
    words = (word("a", attention=attention), word(EVIL, attention=attention, last=True))
    captions = tuple(
        ExplainedCaption(text=f"a {EVIL}", log_prob=log_prob, mean=log_prob / 2, finished=finished, words=words)
        for log_prob, finished in ((-3.0, True), (-3.5, False))
    )
    branches = (
        branch("a", 1, None, -1.0, Outcome.CONTINUED, True),
        branch("b", 1, None, -2.0, Outcome.CONTINUED),
        branch("c", 1, None, -2.5, Outcome.PRUNED),
        branch(EVIL, 2, 0, -3.0, Outcome.HYPOTHESIS, True),
        branch("x", 2, 0, -3.2, Outcome.FORBIDDEN),
        branch("y", 2, 1, -3.5, Outcome.STOPPED),
    )
    return Explanation(
        decoder="ShowAttendAndTell",
        search="BeamSearch" if tree else "Sampling",
        settings={"beam_size": 2, "processors": (lambda: None,)},
        captions=captions,
        tree=branches if tree else None,
        num_left_out=0,
        source=None,
    )


def written(tmp_path: Path, *models: Explained, size: tuple[int, int] = (1000, 500)) -> str:
    path = tmp_path / "page.html"
    write_explanation(path, EVIL, Image.new("RGB", size, "green"), models)
    return path.read_text(encoding="utf-8")


def one(**options: bool) -> Explained:
    return Explained(name=EVIL, explanation=explanation(**options), box=(0.25, 0.0, 0.75, 1.0))


def test_text_of_models_and_files_is_escaped(tmp_path: Path) -> None:
    page = written(tmp_path, one())
    assert page.count("<script") == 1  # the page's own
    assert page.count("<img") == 1
    assert html.unescape(page).count(EVIL) > 10


def test_a_policy_allows_only_the_page_s_own_script_and_style(tmp_path: Path) -> None:
    page = written(tmp_path, one())
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    for tag in ("style", "script"):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    names: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda _tag, attributes: names.update(name for name, _ in attributes)  # type: ignore[method-assign]
    parser.feed(page)
    assert "aria-controls" in names
    assert not {name for name in names if name.startswith("on") or name in ("style", "href")}
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_the_image_is_reduced_and_small_ones_are_kept_without_loss(tmp_path: Path) -> None:
    for size, kind, expected in (((1000, 500), "JPEG", (800, 400)), ((64, 32), "PNG", (64, 32))):
        data = re.search(
            r'class="image" alt="the image" src="data:image/\w+;base64,([^"]+)', written(tmp_path, one(), size=size)
        )
        with Image.open(io.BytesIO(base64.b64decode(data[1]))) as image:
            assert (image.format, image.size) == (kind, expected)


def test_maps_are_placed_where_the_encoder_reads_and_have_one_scale(tmp_path: Path) -> None:
    page = written(tmp_path, one())
    assert "#model-0 .map{left:25.000%;top:0.000%;width:50.000%;height:100.000%}" in page
    maps = [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'data-map="data:image/png;base64,([^"]+)', page)
    ]
    assert [image.size for image in maps] == [(3, 2)] * 4
    for image, expected in zip(maps, ([[1 / 3] * 3] * 2, [[0, 1, 0]] * 2), strict=False):  # 1/6 on the scale of 1/2
        assert_array_equal(
            np.asarray(image), colormaps["inferno"](np.sqrt(np.float32(expected)), alpha=0.6, bytes=True)
        )
    assert 'data-largest="0.500" data-equal="0.167"' in page


def test_what_a_model_does_not_have_is_absent(tmp_path: Path) -> None:
    page = written(tmp_path, one(attention=False, tree=False))
    assert "data-map" not in page
    assert "<figcaption" not in page
    assert '<div class="tree' not in page
    assert "Sampling keeps no beam" in page


def test_scores_and_differences_are_shown(tmp_path: Path) -> None:
    page = written(tmp_path, one())
    assert re.findall(r"log-probability (-[\d.]+) · mean per token (-[\d.]+) ·\n(\w+)", page) == [
        ("-3.00", "-1.50", "finished"),
        ("-3.50", "-1.75", "truncated"),
    ]
    assert re.findall(r"log-probability -4.25 · difference ([+-][\d.]+) · mean per token -1.06 · finished", page) == [
        "-1.25", "-1.25", "-0.75", "-0.75",
    ]  # fmt: skip
    assert "1 forbidden" in page
    assert ", forbidden by Forbid<" in page


def test_two_models_of_twenty_beams_and_thirty_steps_take_less_than_three_megabytes_each(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(30, 14, 14, generator=random)
    words = tuple(
        Word(
            text=f"word{t}",
            probability=0.5,
            attention=maps[t],
            alternatives=tuple(
                Alternative(text=f"other{i}", probability=0.1, rank=i, chosen=not i, forbidden=False, edit=EDIT)
                for i in range(8)
            ),
        )
        for t in range(30)
    )
    caption = ExplainedCaption(text="word " * 30, log_prob=-40.0, mean=-1.3, finished=True, words=words)
    branches = [
        branch(f"word{i}", step, (step - 2) * 60 + i % 20 if step > 1 else None, -1.0 * step, list(Outcome)[i % 7])
        for step in range(1, 31)
        for i in range(60)
    ]
    large = replace(explanation(), captions=(caption,) * 10, tree=tuple(branches))
    path = tmp_path / "page.html"
    noise = (255 * torch.rand(800, 800, 3, generator=random)).byte().numpy()
    write_explanation(path, "x", Image.fromarray(noise), [replace(one(), explanation=large)] * 2)
    assert path.stat().st_size < 2 * 3e6


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(driver: Browser, tmp_path: Path) -> Browser:
    """A browser that shows the page."""
    written(tmp_path, one())
    driver.call("/url", {"url": "about:blank"})
    driver.log("browser"), driver.log("performance")
    driver.call("/url", {"url": (tmp_path / "page.html").as_uri()})
    return driver


def shown_map(browser: Browser) -> bool:
    return browser.js("return document.querySelector('.map').checkVisibility()")


@in_browser
def test_pointing_at_a_word_or_focusing_it_shows_its_map(browser: Browser) -> None:
    def src() -> int:
        maps = "[...document.querySelectorAll('.word')].map(word => word.dataset.map)"
        return browser.js(f"return {maps}.indexOf(document.querySelector('.map').src)")

    assert not shown_map(browser)
    browser.point(".words:first-of-type .word:nth-child(2)")
    assert shown_map(browser)
    assert src() == 1
    assert "largest weight 0.500 (equal weights: 0.167)" in browser.js(
        "return document.querySelector('figcaption').textContent"
    )
    frame, drawn = (
        browser.js(f"const box = document.querySelector('{name}').getBoundingClientRect(); return box.toJSON()")
        for name in (".frame", ".map")
    )
    assert (drawn["left"] - frame["left"]) / frame["width"] == pytest.approx(0.25, abs=0.01)
    assert drawn["width"] / frame["width"] == pytest.approx(0.5, abs=0.01)
    assert drawn["height"] == pytest.approx(frame["height"], abs=1)
    browser.point("h1")
    assert not shown_map(browser)
    browser.press(TAB)
    assert browser.js("return document.activeElement.className") == "word"
    assert shown_map(browser)
    assert src() == 0


@in_browser
def test_by_keyboard_a_word_opens_and_a_forced_caption_is_shown_as_text(browser: Browser) -> None:
    browser.point("h1")
    browser.press(TAB, TAB, ENTER)
    assert browser.js("return [...document.querySelectorAll('.panel')].map(p => p.checkVisibility())") == [
        False, True, False, False,
    ]  # fmt: skip
    assert browser.js("return document.activeElement.getAttribute('aria-expanded')") == "true"
    browser.press(TAB, ENTER)
    assert browser.js("return document.activeElement.getAttribute('aria-pressed')") == "true"
    result = browser.js("return [...document.querySelectorAll('.result')].map(r => r.innerText)[1]")
    assert result.split("\n\n")[0] == EDIT.text
    assert "log-probability -4.25 · difference -1.25 ·" in result
    browser.press(ESCAPE)
    assert browser.js("return [...document.querySelectorAll('.panel')].some(p => p.checkVisibility())") is False
    assert browser.js("return document.activeElement.className") == "word"


@in_browser
def test_arrow_keys_move_in_the_tree_and_the_branch_is_described(browser: Browser) -> None:
    def at() -> tuple[str, str]:
        return tuple(browser.js("return [document.activeElement.id, document.querySelector('.detail').textContent]"))

    browser.js("document.querySelector('.node[tabindex=\"0\"]').focus()")
    assert at() == ("n0-0", "a · log-probability -1.00, continued")
    browser.press(RIGHT)
    assert at() == ("n0-3", f"a {EVIL} · log-probability -3.00, one of the n best captions")
    browser.press(DOWN)
    assert at() == ("n0-4", "a x · log-probability -3.20, forbidden by Forbid")
    browser.press(LEFT, DOWN, RIGHT)
    assert at()[0] == "n0-5"
    assert browser.js("return document.querySelectorAll('.node[tabindex=\"0\"]').length") == 1
    assert browser.js("return document.querySelectorAll('.lines path').length") == 3
    browser.js("document.querySelector('.toggle').click()")
    visible = "return [...document.querySelectorAll('.node')].filter(n => n.checkVisibility()).map(n => n.id)"
    assert browser.js(visible) == ["n0-0", "n0-1", "n0-3"]
    assert browser.js("return document.querySelectorAll('.lines path').length") == 1
    browser.point("#n0-1")
    assert browser.js("return document.querySelector('.detail').textContent").startswith("b · log-probability -2.00")


@in_browser
def test_nothing_is_requested_reported_or_run(browser: Browser, tmp_path: Path) -> None:
    for selector in (".word", ".words .word:nth-child(2)", ".node"):
        browser.point(selector)
        browser.js(f"document.querySelector('{selector}').click()")
    browser.js("document.querySelectorAll('.force').forEach(force => force.click())")
    assert browser.log("browser") == []
    events = [json.loads(text)["message"] for text in browser.log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert {url for url in urls if url.startswith("file")} == {(tmp_path / "page.html").as_uri()}


@in_browser
def test_the_policy_stops_what_escaping_would_miss(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    added = "<script>window.ran = true</script><img src='http://127.0.0.1:9/x' onerror='window.ran = true'>"
    path.write_text(path.read_text().replace("</main>", f"{added}</main>"))
    browser.call("/url", {"url": path.as_uri()})
    assert browser.js("return window.ran === undefined")
    assert sum("violates the following Content Security Policy" in text for text in browser.log("browser")) >= 2


@in_browser
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_no_wider_than_the_window(browser: Browser, tmp_path: Path, width: int) -> None:
    browser.call("/window/rect", {"width": width, "height": 800})
    written(tmp_path, one(), one())
    browser.call("/url", {"url": (tmp_path / "page.html").as_uri()})
    assert browser.js("return document.documentElement.scrollWidth <= window.innerWidth")


@in_browser
def test_the_image_stays_in_sight_beside_the_captions_and_covers_no_branch(browser: Browser) -> None:
    browser.js("document.querySelector('.branches').scrollIntoView()")
    sides = "return ['.stage', '.branches'].map(name => document.querySelector(name).getBoundingClientRect().toJSON())"
    stage, branches = browser.js(sides)
    assert stage["bottom"] <= branches["top"] + 1
