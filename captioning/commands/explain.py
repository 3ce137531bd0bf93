"""captioning explain: write a page that shows how a model captioned an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands._bundles import add_trust, load, printable
from captioning.commands._search import chosen_search, parsed, searching_parser
from captioning.errors import InputError
from captioning.model import shipped

if TYPE_CHECKING:
    from PIL.Image import Image

    from captioning.model.captioner import Captioner
    from captioning.reports.explain_page import Explained
    from captioning.search.hypotheses import Search

NUM_CAPTIONS = 5

HELP = """\
Write a self-contained HTML page that shows how a model captioned an image: its best captions, the beam tree, the other
words at each step, what follows if one of them is forced, and the attention.

  IMAGE               an image's file; for a translator, a sentence
  --model WHERE       a bundle, a run's folder or checkpoint, or a name (flickr8k); twice for two models side by side
  --output, -o FILE   the page
  --device NAME --trust PACKAGE    such as cuda (default cpu); run a package's code

{search}
The page has 5 captions, or as many as --num-best says, up to 10.

example: captioning explain dog.jpg --model runs/best/bundle --output dog.html
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = searching_parser("explain", "IMAGE [--model WHERE] -o FILE [options]", HELP, thing="image")
    parser.add_argument("image", nargs=1)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--device", default="cpu")
    add_trust(parser)
    options = parsed(parser, arguments, positional="image", default=shipped.DEFAULT)
    if len(options.model) > 2:
        parser.error("--model can be given once or twice")
    if not options.output.parent.is_dir():
        raise InputError(f"{options.output.parent}: there is no such folder; make it, or write the page elsewhere")

    from captioning.reports.explain_page import write_explanation

    models = [load(where, options.device, options.trust).pack() for where in options.model]
    (source,) = options.image
    image = _read(source, models)
    explained = [
        _explained(name, model, source, image, chosen_search(model, options), options.num_best or NUM_CAPTIONS)
        for name, model in zip(options.model, models, strict=True)
    ]
    title = source if image is None else Path(source).name
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
    name: str, model: Captioner, source: str, image: Image | None, search: Search, num_best: int
) -> Explained:
    import numpy as np

    from captioning.encoders.text_transform import TextTransform
    from captioning.model.explain import explain
    from captioning.reports.explain_page import Explained

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
