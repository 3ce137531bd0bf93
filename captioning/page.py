"""A self-contained HTML page of pictures, captions and references."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from captioning.data.example import CaptionedImage
from captioning.data.images import load_image
from captioning.evaluation import Evaluation

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
  img { width: 16rem; border-radius: .4rem; }
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
  <img alt="{{ example.caption }}" src="data:image/jpeg;base64,{{ example.picture }}">
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
    """Write the page of `images`; pictures are inside it as JPEGs of at most 480 pixels."""
    predictions = {p.image_id: p for p in evaluation.predictions}
    examples = [
        {
            "image_id": image.image_id,
            "picture": _jpeg(image.path),
            "caption": predictions[image.image_id].caption,
            "score": predictions[image.image_id].score,
            "cider": evaluation.scores.per_image[image.image_id].get("CIDEr", 0.0),
            "references": image.captions,
        }
        for image in images
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_TEMPLATE).render(
        examples=examples, metrics=metrics["metrics"], signature=metrics["signature"]
    )
    path.write_text(page, encoding="utf-8")


def _jpeg(path: Path) -> str:
    picture = load_image(path)
    picture.thumbnail((480, 480))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
