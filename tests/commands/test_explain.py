"""captioning explain: its page, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGE, MODEL, TRANSLATOR = FIXTURES / "images" / "1.png", FIXTURES / "finetuned/bundle", FIXTURES / "translator/bundle"


def test_a_page_has_the_captions_that_caption_prints(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("earlier")
    ran = command("explain", IMAGE, "--model", MODEL, "-o", page, "--beam-size", "3")
    assert (ran.status, ran.err, ran.out) == (0, "", f"{page}\n")
    text = page.read_text()
    caption = command("caption", IMAGE, "--model", MODEL, "--beam-size", "3").out.strip().partition(": ")[2]
    assert f'<p class="text">{caption}</p>' in text
    assert text.count('<p class="text">') == 3
    assert "beam_size 3" in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_two_models_stand_side_by_side(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    models = ("--model", MODEL, "--model", FIXTURES / "cached/bundle", "--num-best", "1")
    assert command("explain", IMAGE, *models, "-o", page).status == 0
    text = page.read_text()
    assert text.count('<section class="model"') == text.count('<p class="text">') == 2
    assert '<main class="several">' in text


def test_options_change_the_search_as_they_do_in_caption(command: Command, tmp_path: Path) -> None:
    page, options = tmp_path / "page.html", ("--min-length", "6", "--beam-size", "2", "--banned", "a")
    assert command("explain", IMAGE, "--model", MODEL, "-o", page, *options).status == 0
    caption = command("caption", IMAGE, "--model", MODEL, *options).out.strip().partition(": ")[2]
    assert len(caption.split()) >= 6
    assert f'<p class="text">{caption}</p>' in page.read_text()
    assert caption not in command("caption", IMAGE, "--model", MODEL).out


def test_an_option_of_another_library_is_answered_with_ours(command: Command, tmp_path: Path) -> None:
    ran = command("explain", IMAGE, "--model", MODEL, "-o", tmp_path / "page.html", "--num-beams", "3")
    assert ran.status == 2
    assert "--beam-size" in ran.err


def test_a_sentence_is_explained_by_a_translator(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert command("explain", "ein hund", "--model", TRANSLATOR, "-o", page).status == 0
    text = page.read_text()
    assert "How this sentence was translated" in text
    assert "data-weights=" in text
    assert "<img" not in text


def test_each_mistake_has_one_message(command: Command, aligner: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, message in (
        ((tmp_path / "none.jpg", "--model", MODEL), "none.jpg: no such file"),
        ((tmp_path / "text.jpg", "--model", MODEL), "text.jpg: not an image"),
        ((IMAGE, "--model", aligner), "holds a matcher, expected a decoder; a matcher aligns sentences"),
        ((IMAGE, "--model", tmp_path / "none"), "none"),
        ((IMAGE, "--model", TRANSLATOR), "is a file, and the model translates sentences; give a sentence"),
        ((IMAGE, "--model", MODEL, "--model", TRANSLATOR), "give two of the same kind"),
        ((IMAGE, "--model", MODEL, "--num-best", "11"), "num_best=11 must be in 1..10"),
        ((IMAGE, "--model", MODEL, "--device", "nowhere"), "--device nowhere"),
        (("ein hund", "--model", MODEL), "ein hund: no such file"),
    ):
        ran = command("explain", *arguments, "-o", page)
        assert message in ran.message
        assert ran.message.count("\n") == 1
        assert not page.exists()
    ran = command("explain", IMAGE, "--model", MODEL, "-o", tmp_path / "deeper" / "page.html")
    assert f"{tmp_path}/deeper: there is no such folder; make it" in ran.message
    three = command("explain", IMAGE, *(["--model", MODEL] * 3), "-o", page)
    assert three.status == 2
    assert "--model can be given once or twice" in three.err


@pytest.mark.parametrize("name", ["a\x1b[2J<b>.png", "b\udcff.png"])
def test_an_odd_file_name_is_escaped(command: Command, tmp_path: Path, name: str) -> None:
    image = tmp_path / name
    image.write_bytes(IMAGE.read_bytes())
    page = tmp_path / "page.html"
    assert command("explain", image, "--model", MODEL, "--num-best", "1", "-o", page).status == 0
    text = page.read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "<b>" not in text
