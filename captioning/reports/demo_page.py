"""A page on which one drops a photo and sees its caption, the alternatives and what the model attended to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.data.images import load_image
from captioning.decoders.decoder import AttentiveDecoder
from captioning.errors import InputError
from captioning.model.attention_maps import attention_maps, draw_attention_map
from captioning.model.captioner import Captioner
from captioning.search.hypotheses import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("caption", "log-probability")

Shown = tuple[str, list[tuple[str, float]], "Figure | None"]
"""The caption, all captions with their log-probabilities, and the attention maps if there are any."""


def describe(captioner: Captioner, path: str | Path, search: Search) -> Shown:
    """Caption one image.

    Args:
        captioner: a model of images.
        path: the image's file.
        search: how it is captioned.

    Raises:
        InputError: the file is no image that can be read.
    """
    inputs = captioner.pixels([load_image(path)])
    (best,) = captioner.decode(inputs, search=search)
    captions = [(own.text, round(own.score, 2)) for own in (best, *best.alternatives)]
    if not isinstance(captioner.decoder, AttentiveDecoder):
        return best.text, captions, None
    (attention_map,) = attention_maps(captioner, inputs, [best.text])
    return best.text, captions, draw_attention_map(attention_map)


def demo_page(captioner: Captioner, search: Search, title: str) -> Any:
    """Make the page, a `gradio.Blocks`, for `gradio.Blocks.launch`.

    Args:
        captioner: a model of images.
        search: how images are captioned.
        title: of the page.

    Raises:
        InputError: gradio is not installed, or the model reads no images.
    """
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise InputError("the demo needs gradio: pip install 'captioning[demo]'") from error
    assert captioner.image_transform

    def shown(path: str | None) -> tuple[Any, ...]:
        if path is None:  # the image was removed
            return "", [], None
        try:
            return describe(captioner, path, search)
        except InputError as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f"# {title}\nDrop a photo. It stays on this machine.")
        with gradio.Row():
            photo = gradio.Image(label="photo", type="filepath", image_mode=None, sources=["upload", "clipboard"])
            with gradio.Column():
                caption = gradio.Textbox(label="caption", interactive=False)
                found = gradio.Dataframe(
                    label="captions, best first", headers=list(COLUMNS), column_widths=["70%", "30%"], wrap=True,
                    interactive=False,
                )  # fmt: skip
        attention = gradio.Plot(label="attention", visible=isinstance(captioner.decoder, AttentiveDecoder))
        photo.change(shown, photo, [caption, found, attention])
    return page
