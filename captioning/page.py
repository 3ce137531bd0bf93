"""A self-contained HTML page of pictures, captions and references."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL.Image import Image

from captioning.data.example import CaptionedImage
from captioning.data.images import load_image
from captioning.errors import InputError
from captioning.evaluation import Evaluation

log = logging.getLogger(__name__)

_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ signature.data }} {{ signature.split }}: captions</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
  table { border-collapse: collapse; margin: 1rem 0 2rem; }
  th, td { border-bottom: 1px solid #ccc; padding: .3rem .9rem; text-align: right; }
  article { display: grid; grid-template-columns: 16rem 1fr; gap: 1.5rem; margin: 0 0 2rem; }
  img, .missing { width: 16rem; border-radius: .4rem; }
  .missing { background: #eee; color: #555; display: grid; min-height: 10rem; place-items: center; }
  .caption { font-size: 1.25rem; font-weight: 600; margin: 0; }
  .figures, li { color: #555; }
  ul { padding-left: 1.2rem; }
  @media (max-width: 40rem) { article { grid-template-columns: 1fr; } }
</style>
<h1>Captions of {{ signature.data }} {{ signature.split }}</h1>
<p>{{ examples | length }} of {{ signature.num_images }} pictures; decoded by {{ signature.search.name }}. Each with its
caption, the caption's CIDEr, and what people wrote of it. Scores of the whole split, as fractions:</p>
<table>
  <tr>{% for name in metrics %}<th>{{ name }}</th>{% endfor %}</tr>
  <tr>{% for value in metrics.values() %}<td>{{ "%.3f" | format(value) }}</td>{% endfor %}</tr>
</table>
{% for example in examples %}
<article>
  {% if example.picture -%}
  <img alt="{{ example.caption }}" src="data:image/jpeg;base64,{{ example.picture }}">
  {%- else -%}
  <div class="missing">no picture</div>
  {%- endif %}
  <div>
    <p class="caption">{{ example.caption or "(empty)" }}</p>
    <p class="figures">{{ example.image_id }} · CIDEr {{ "%.2f" | format(example.cider) }}
      · log-probability {{ "%.2f" | format(example.score) }}</p>
    <ul>{% for reference in example.references %}<li>{{ reference }}</li>{% endfor %}</ul>
  </div>
</article>
{% endfor %}
</html>
"""


def write_page(
    path: Path, images: Sequence[CaptionedImage], evaluation: Evaluation, metrics: Mapping[str, Any]
) -> None:
    """Write the page of `images`; pictures are inside it as JPEGs of at most 480 pixels.

    In the place of a picture that cannot be read stands a grey field.
    """
    predictions = {p.image_id: p for p in evaluation.predictions}
    examples = [
        {
            "image_id": image.image_id,
            "picture": _jpeg(picture),
            "caption": predictions[image.image_id].caption,
            "score": predictions[image.image_id].score,
            "cider": evaluation.scores.per_image[image.image_id].get("CIDEr", 0.0),
            "references": image.captions,
        }
        for image, picture in zip(images, pictures_to_show(images), strict=True)
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_TEMPLATE).render(
        examples=examples, metrics=metrics["metrics"], signature=metrics["signature"]
    )
    path.write_text(page, encoding="utf-8")


def pictures_to_show(images: Sequence[CaptionedImage]) -> list[Image | None]:
    """The images' pictures of at most 480 pixels.

    None stands for one that cannot be read, which is no reason to stop: with cached features nothing else needs it.
    One warning counts these and says why the first is missing.
    """
    pictures: list[Image | None] = []
    errors = []
    for image in images:
        try:
            picture = load_image(image.path)
            picture.thumbnail((480, 480))
            pictures.append(picture)
        except InputError as error:
            errors.append(error)
            pictures.append(None)
    if errors:
        log.warning("%d of %d pictures are not shown; the first: %s", len(errors), len(pictures), errors[0])
    return pictures


def _jpeg(picture: Image | None) -> str | None:
    if picture is None:
        return None
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
