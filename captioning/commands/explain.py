"""captioning explain: write a page that shows how a model captioned an image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import positive
from captioning.commands._bundles import add_trust, load, printable
from captioning.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from captioning.model.captioner import Captioner
    from captioning.reports.explain_page import Explained


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning explain",
        description="Write a self-contained HTML page that shows how a model captioned an image: its best captions, "
        "the beam tree, the other words at each step, what follows if one of them is forced, and the attention.",
        epilog="example: captioning explain dog.jpg --model runs/best/bundle --output dog.html",
    )
    parser.add_argument("image", metavar="IMAGE", help="an image's file; for a translator, a sentence")
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="WHERE",
        help="a bundle, a run or a checkpoint; twice for two models side by side",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the page")
    parser.add_argument("--beam-size", type=positive, help="beams; 1 is greedy search (default: the bundle's)")
    parser.add_argument("--num-best", type=positive, default=5, metavar="N", help="captions, up to 10 (default 5)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")
    add_trust(parser)
    options = parser.parse_args(arguments)
    if len(options.model) > 2:
        parser.error("--model can be given once or twice")
    if not options.output.parent.is_dir():
        raise InputError(f"{options.output.parent}: there is no such folder; make it, or write the page elsewhere")

    from captioning.reports.explain_page import write_explanation

    models = [load(where, options.device, options.trust) for where in options.model]
    image = _read(options.image, models)
    explained = [
        _explained(name, model, options.image, image, options.beam_size, options.num_best)
        for name, model in zip(options.model, models, strict=True)
    ]
    title = options.image if image is None else Path(options.image).name
    write_explanation(options.output, title, image, explained)
    print(printable(str(options.output)))
    return 0


def _read(source: str, models: Sequence[Captioner]) -> Image | None:
    """Read the image; None if the models translate sentences.

    Raises:
        InputError: there is no such image, or the models do not all read what is given.
    """
    from captioning.data.images import load_image
    from captioning.encoders.text_transform import TextTransform

    translators = [isinstance(model.transform, TextTransform) for model in models]
    if len(set(translators)) > 1:
        raise InputError("one model captions images and the other translates sentences; give two of the same kind")
    if not translators[0]:
        return load_image(source)
    if Path(source).is_file():
        raise InputError(f"{source} is a file, and the model translates sentences; give a sentence")
    return None


def _explained(
    name: str, model: Captioner, source: str, image: Image | None, beam_size: int | None, num_best: int
) -> Explained:
    import numpy as np

    from captioning.encoders.text_transform import TextTransform
    from captioning.model.explain import explain
    from captioning.reports.explain_page import Explained
    from captioning.search.names import as_option
    from captioning.search.options import with_options

    search = with_options(model.search, model.tokenizer, as_option, beam_size=beam_size)
    transform = model.transform
    if isinstance(transform, TextTransform):
        return Explained(name=name, explanation=explain(model, transform([source]), search=search, num_best=num_best))
    assert image is not None
    corners = transform.points_in_image(np.array([[0.0, 0.0], [1.0, 1.0]]), image.size)
    left, top, right, bottom = corners.flatten().tolist()
    return Explained(
        name=name,
        explanation=explain(model, model.pixels([image]), search=search, num_best=num_best),
        box=(left, top, right, bottom),
    )
