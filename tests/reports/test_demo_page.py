"""The demo's page: what it shows of a photo, and the page in a browser."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from browsing import in_browser, started
from matplotlib.figure import Figure
from PIL import Image

from captioning import Captioner
from captioning.decoders import MRNN, ShowAttendAndTell, Soft
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.reports.demo_page import demo_page, describe
from captioning.search import BeamSearch
from captioning.text import Tokenizer

SEARCH = BeamSearch(beam_size=4, num_best=3, max_length=5)


def build(tokenizer: Tokenizer, *, attentive: bool) -> Captioner:
    torch.manual_seed(0)
    encoder = SmallCNN((32, 48), channels=(8, 16), grid=True)
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    decoder = ShowAttendAndTell(phi=Soft(), hidden_size=17, **sizes) if attentive else MRNN(**sizes)
    return Captioner(encoder, decoder, tokenizer).eval()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (60, 40), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("attentive", [True, False])
def test_a_photo_gets_its_captions_and_the_attention_if_there_is_any(
    attentive: bool, tokenizer: Tokenizer, photo: Path
) -> None:
    captioner = build(tokenizer, attentive=attentive)
    text, captions, figure = describe(captioner, photo, SEARCH)
    best = captioner.caption(photo, search=SEARCH)
    assert text == best.text
    assert captions == [(own.text, round(own.score, 2)) for own in (best, *best.alternatives)]
    assert isinstance(figure, Figure) == attentive
    with pytest.raises(InputError, match=r"conftest\.py"):
        describe(captioner, Path(__file__).parents[1] / "conftest.py", SEARCH)


@pytest.mark.slow
@in_browser
@pytest.mark.filterwarnings("ignore")
def test_a_dropped_photo_is_captioned(
    tokenizer: Tokenizer, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: .[demo]")
    monkeypatch.setitem(os.environ, "GRADIO_ANALYTICS_ENABLED", "False")
    captioner = build(tokenizer, attentive=True)
    page = demo_page(captioner, SEARCH, "a demo")
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False)
    try:
        with started(tmp_path / "browser") as browser:

            def waits_for(script: str) -> bool:
                end = time.monotonic() + 60
                while not (found := browser.js(f"return {script}")) and time.monotonic() < end:
                    time.sleep(0.2)
                return bool(found)

            browser.call("/url", {"url": address})
            assert waits_for("document.querySelector('input[type=file]')")
            browser.upload("input[type=file]", photo)
            text = captioner.caption(photo, search=SEARCH).text
            assert waits_for(f"document.querySelector('textarea')?.value === {text!r}")
            assert waits_for("[...document.images].some(image => image.src.startsWith('data:image'))")
    finally:
        page.close()


def test_without_gradio_the_extra_is_named(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'captioning\[demo\]'"):
        demo_page(build(tokenizer, attentive=False), SEARCH, "a demo")
