"""Run notebooks from clean kernels, and write each as a page that needs no network.

nbconvert's own pages load MathJax from the network. Here, equations become MathML, which browsers show by themselves.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbclient
import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image
from pygments.formatters import HtmlFormatter

from captioning.files.atomic import write_text

STYLE = """
body { font-family: system-ui, sans-serif; line-height: 1.5; color: #222; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { border-top: 1px solid #ddd; padding-top: 1.2rem; margin-top: 2.5rem; }
a.anchor-link, .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser, .prompt { display: none; }
pre { overflow-x: auto; font-size: 0.85rem; padding: 0.6rem 0.8rem; border-radius: 4px; }
.highlight pre { background: #f6f8fa; }
.jp-OutputArea pre, .output pre { background: none; border-left: 3px solid #ccc; }
img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { border: 1px solid #ddd; padding: 0.2rem 0.6rem; }
math[display="block"] { margin: 1rem 0; overflow-x: auto; }
"""
CODE = re.compile(r"(<pre.*?</pre>|<code.*?</code>|<style.*?</style>|<img[^>]*>|<svg.*?</svg>)", re.DOTALL)
PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")
EQUATION = re.compile(r"\$\$(.+?)\$\$|\$(?=\S)([^$]+?)(?<=\S)\$", re.DOTALL)


def executed(path: Path, seconds: int) -> nbformat.NotebookNode:
    """Run a notebook and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=seconds, resources=folder).execute()
    return notebook


def page(notebook: nbformat.NotebookNode, title: str) -> str:
    """Return a notebook as one HTML page, with its plots inside."""
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # a table that was printed row by row
    body, _ = exporter.from_notebook_node(notebook)
    body = PICTURE.sub(_smaller, body)
    parts = [part if CODE.fullmatch(part) else EQUATION.sub(_mathml, part) for part in CODE.split(body)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}{HtmlFormatter().get_style_defs('.highlight')}</style>\n</head>\n<body>\n{''.join(parts)}\n</body>\n</html>\n"
    )


def _smaller(found: re.Match[str]) -> str:
    """Write a PNG with a palette, which is enough for plots and takes a third of the bytes. Rare colours are kept."""
    picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB")
    picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3)
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


def _mathml(found: re.Match[str]) -> str:
    block, inline = found.groups()
    tex = re.sub(r"\\tag\{(.+?)\}", r"\\qquad (\1)", html.unescape(block or inline).strip())
    return str(convert(tex, display="block" if block else "inline"))


def render(path: Path, output: Path, seconds: int) -> str:
    """Run a notebook, write its page into the folder `output`, and return a line about it."""
    started = time.perf_counter()
    text = page(executed(path, seconds), path.stem.replace("_", " "))
    target = output / f"{path.stem}.html"
    write_text(target, text)
    return f"{target}: {len(text) / 1e3:.0f} kB, {time.perf_counter() - started:.0f} s"


def main() -> None:
    """Run the notebooks that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    parser.add_argument("--output", type=Path, default=Path("notebooks/html"), help="the folder for the pages")
    parser.add_argument("--seconds", type=int, default=900, help="the limit of a cell")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks run beside each other; they share the cores")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    paths = options.notebooks or sorted(Path("notebooks").glob("*.ipynb"))
    if options.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    with ProcessPoolExecutor(options.jobs) as pool:
        for line in pool.map(partial(render, output=options.output, seconds=options.seconds), paths):
            print(line, flush=True)


if __name__ == "__main__":
    main()
