"""Pages of notebooks: plots become smaller, and keep their colours."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

PATH = Path(__file__).parents[1] / "scripts" / "render_notebooks.py"
spec = importlib.util.spec_from_file_location("render_notebooks", PATH)
render_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(render_notebooks)


def test_a_plot_keeps_a_rare_colour() -> None:
    """A median cut makes a small pink square on large gradients grey."""
    pixels = np.zeros((256, 256, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = np.arange(256)[:, None], np.arange(256), 120
    pixels[100:108, 100:108] = (255, 105, 180)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    data = {"image/png": base64.b64encode(written.getvalue()).decode()}
    output = nbformat.v4.new_output("display_data", data=data)
    cell = nbformat.v4.new_code_cell("draw()", outputs=[output])
    page = render_notebooks.page(nbformat.v4.new_notebook(cells=[cell]), "a plot")
    (found,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    shown = Image.open(io.BytesIO(base64.b64decode(found)))
    assert shown.mode == "P"
    assert np.abs(np.subtract(shown.convert("RGB").getpixel((104, 104)), (255, 105, 180))).max() <= 20
