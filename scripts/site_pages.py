"""Make the pages of the documentation's site that are not in docs/. mkdocs calls `on_files` and `on_page_markdown`.

Links are those of the repository, so that every page can be read there too. Here they are mapped to the site's pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from captioning.commands import SUMMARIES, main

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "examples/own_package/README.md": "own_package.md",
    "models/flickr8k/README.md": "model_flickr8k.md",
}
"""Markdown files outside docs/, and their pages."""

DOWNLOADS = ("LICENSE", "NOTICE", "CITATION.cff", "examples/**/*.py", "examples/browser/*.js", "notebooks/*.ipynb")
"""Files that pages link to, which the site holds as they are."""


def _files(folder: str) -> list[str]:
    """Name the modules of a folder that has one file per paper: their docstrings have the equations."""
    return [f"captioning.{folder}.{path.stem}" for path in sorted((ROOT / "captioning" / folder).glob("[!_]*.py"))]


MODULES = {
    "captioning": ["captioning"],
    "data": ["captioning.data", "captioning.data.readers", "captioning.data.scenes"],
    "decoders": _files("decoders"),
    "encoders": ["captioning.encoders"],
    "evaluation": ["captioning.evaluation.predictions", "captioning.evaluation.scorer"],
    "handwriting": _files("handwriting"),
    "matchers": _files("matchers"),
    "metrics": ["captioning.metrics", "captioning.metrics.diversity"],
    "model": [
        f"captioning.model.{name}"
        for name in ("caption", "ensemble", "contrast", "load", "attention_maps", "explain", "explanation")
    ],
    "objectives": _files("objectives"),
    "recurrent": _files("recurrent"),
    "reranking": ["captioning.reranking", "captioning.reranking.consensus"],
    "search": ["captioning.search"],
    "text": ["captioning.text"],
}
"""The pages of the Python reference, and the modules whose public names each describes."""

ROW = re.compile(r"^\|.*$", re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)([^)]*\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files, and the files that pages link to."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    for path in sorted(found for pattern in DOWNLOADS for found in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    texts = {"commands": _commands(), "configuration": _configuration(), "experiments": _experiments()}
    texts |= {name: _modules(name, modules) for name, modules in MODULES.items()}
    for name, text in texts.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Map links between files of the repository to links between pages of the site."""
    source = next((path for path, name in PAGES.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    if page.file.src_uri.startswith("reference/"):
        return markdown

    def mapped(link: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / link[2])
        if (ROOT / target).is_dir():
            target = f"{target}/README.md"
        target = PAGES.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{os.path.relpath(target, PurePosixPath(page.file.src_uri).parent)}{link[3]}"

    # Repositories need \| in a cell's code, where Python-Markdown shows the backslash.
    return ROW.sub(lambda row: row[0].replace("\\|", "|"), LINK.sub(mapped, markdown))


def _commands() -> str:
    texts = ["# Commands", "What each command prints with `--help`.", *_block("text", _help())]
    for name in SUMMARIES:
        texts += [f"## captioning {name}", *_block("text", _help(name))]
    return "\n\n".join(texts)


def _help(*command: str) -> str:
    """Return what a command prints with --help, in lines of 100 characters if it is free to choose."""
    os.environ["COLUMNS"] = "100"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return printed.getvalue()


def _configuration() -> str:
    conf = ROOT / "conf"
    texts = [
        "# Configuration",
        "Hydra composes the settings of a run of these files. `captioning train GROUP=OPTION` chooses an option, and "
        "`GROUP.KEY=VALUE` changes a setting. Files whose names begin with `_` hold what the options of a group share.",
    ]
    texts += ["## Commands", *(text for path in sorted(conf.glob("*.yaml")) for text in _file(path, path.stem))]
    for group in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "experiment"):
        texts.append(f"## {group.name}")
        texts += (text for path in sorted(group.glob("*.yaml")) for text in _file(path, path.stem))
    return "\n\n".join(texts)


def _experiments() -> str:
    texts = ["# Experiments", "`captioning train experiment=NAME` applies the settings of one of these files."]
    for folder in sorted((ROOT / "conf" / "experiment").iterdir()):
        texts.append(f"## {folder.name}")
        texts += (text for path in sorted(folder.glob("*.yaml")) for text in _file(path, f"{folder.name}/{path.stem}"))
    return "\n\n".join(texts)


def _file(path: Path, title: str) -> Iterator[str]:
    yield f"### {title}"
    yield from _block("yaml", path.read_text(encoding="utf-8"))


def _block(language: str, text: str) -> Iterator[str]:
    yield f"```{language}\n{text.rstrip()}\n```"


def _modules(name: str, modules: list[str]) -> str:
    texts = [f"# {name if name == 'captioning' else f'captioning.{name}'}"]
    if len(modules) == 1:
        return "\n\n".join([*texts, f"::: {modules[0]}"])
    for module in modules:
        texts += [f"## {module.removeprefix('captioning.')}", f"::: {module}\n    options:\n      heading_level: 3"]
    return "\n\n".join(texts)
