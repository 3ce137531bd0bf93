"""The documentation holds: its code runs or says what it needs, its commands have valid arguments, its links exist."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image

from captioning import Captioner
from captioning.commands import SUMMARIES, config_folder
from captioning.commands._overrides import check_overrides, read_arguments
from captioning.decoders import ShowAndTell
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.recurrent import LSTM
from captioning.text import train_words

ROOT = Path(__file__).parents[1]
WITH_CODE = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/**/README.md"))]
PAGES = [
    *WITH_CODE,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md")),
]
COMMENT = re.compile(r"<!-- needs: (.*) -->\s*")
"""Stands on the line before a block that needs more than this package. It is not shown."""

NEEDS = {
    "data": "a published data set, and what is made of it",
    "images": "the reader's own images",
    "training": "minutes or hours of training",
    "devices": "several GPUs or a cluster",
    "clip": "CLIP's published weights",
    "installation": "a new environment",
    "package": "the example's own package; tests/commands/test_own_package.py has it",
    "plugins": "Hydra's plugins, which the extras sweeps and optuna install",
    "model": "a trained captioner; the tests use one that has learned nothing",
}
UNCHECKED = ("package", "plugins")
"""Commands that need these have arguments that captioning alone does not know."""

MODELS = ("quickstart/...", "quickstart/run", "runs/first", "BUNDLE", "seed1", "seed2")
IMAGES = ("image.jpg", "photo.jpg", "IMAGE", "data/scenes/test2017/1.jpg")


@dataclass(frozen=True)
class Block:
    """A block of code, and what it needs by its comment."""

    page: Path
    line: int
    language: str
    text: str
    needs: str | None

    @property
    def runs(self) -> bool:
        return self.language in ("bash", "python") and self.needs in (None, "model")


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    before = ""
    for token in tokens(page):
        if token.type == "fence":
            comment = COMMENT.fullmatch(before)
            yield Block(page, token.map[0] + 1, token.info, token.content, comment and comment[1])
        before = token.content if token.type == "html_block" else ""


BLOCKS = [block for page in WITH_CODE for block in blocks(page)]


def name(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models and images under the names that the documentation gives them."""
    folder = tmp_path_factory.mktemp("docs")
    torch.manual_seed(0)
    tokenizer = train_words(["a man and a woman see red dogs", "a dog runs"], min_count=1)
    encoder = SmallCNN((16, 16), channels=(8, 16))
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), "embedding_size": 8, "hidden_size": 8}
    recurrent = {"_target_": "captioning.recurrent.LSTM", "_partial_": True}
    config = {
        "encoder": {"_target_": "captioning.encoders.SmallCNN", "size": [16, 16], "channels": [8, 16]},
        "decoder": {"_target_": "captioning.decoders.ShowAndTell", "recurrent": recurrent, **sizes},
        "search": {"_target_": "captioning.search.BeamSearch"},
    }
    model = Captioner(encoder, ShowAndTell(recurrent=LSTM, **sizes), tokenizer, config=config).save(folder / "model")
    for path in MODELS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(model)
    for path in IMAGES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), "red").save(folder / path, format="jpeg")
    return folder


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.runs], ids=name)
def test_the_code_runs(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if block.language == "python":
        exec(compile(block.text, name(block), "exec"), {})
        return
    command = f'captioning() {{ "{sys.executable}" -m captioning "$@"; }}\n'
    search = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", command + block.text],
        capture_output=True,
        text=True,
        env={**os.environ, **search},
    )
    assert ran.returncode == 0, ran.stderr


def test_each_block_runs_or_says_what_it_needs() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "python", "json", ""}  # "": what is printed
    assert [name(block) for block in BLOCKS if block.needs not in (None, *NEEDS)] == []
    assert {block.needs for block in BLOCKS} == {None, *NEEDS}


def test_each_comment_stands_before_a_block() -> None:
    """A comment that does not would be in vain."""
    written = Counter({page: len(COMMENT.findall(page.read_text(encoding="utf-8"))) for page in WITH_CODE})
    assert written == Counter(block.page for block in BLOCKS if block.needs)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=name)
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)


def accept(command: str, arguments: list[str]) -> None:
    """Check a command's arguments as the command does before it reads any file; argparse then ends it with status 0.

    Raises:
        InputError: an override is wrong.
        SystemExit: an option is.
    """
    if (config_folder() / f"{command}.yaml").is_file():
        check_overrides(read_arguments(command, arguments))
        return
    try:
        import_module(f"captioning.commands.{command}").main(arguments)
    except SystemExit as end:
        if end.code:
            raise


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `captioning` in a block of bash. A variable is its name, and `...` the data's folder."""
    for line in text.replace("\\\n", " ").splitlines():
        words = [re.sub(r"\$(\w+)", r"\1", word) for word in shlex.split(line, comments=True)]
        if "captioning" in words and words[0] in ("captioning", "srun", "torchrun"):
            yield ["data.root=PATH" if word == "..." else word for word in words[words.index("captioning") + 1 :]]


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let argparse end a command after its arguments."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
        parse(parser, arguments)
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("parse_only")
def test_the_arguments_of_commands_that_are_not_run_are_valid(page: Path) -> None:
    wrong = []
    for block in BLOCKS:
        if block.page != page or block.language != "bash" or block.runs or block.needs in UNCHECKED:
            continue
        for command, *arguments in commands(block.text):
            try:
                accept(command, arguments)
            except (InputError, SystemExit) as error:
                wrong.append(f"{name(block)}: captioning {command} {' '.join(arguments)}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("parse_only")
def test_wrong_arguments_are_found() -> None:
    for line in ("captioning train decoder=nonsense", "captioning score --nonsense", "captioning train decoder.x=1"):
        [[command, *arguments]] = commands(line)
        with pytest.raises((InputError, SystemExit)):
            accept(command, arguments)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as repositories and the site make them."""
    found = tokens(page)
    titles = [
        "".join(part.content for part in after.children)
        for token, after in pairwise(found)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for part in token.children or ():
            target = part.attrGet("href") if part.type == "link_open" else part.attrGet("src")
            if target is not None and ":" not in target:
                yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_links_and_anchors_are_found() -> None:
    assert "results.md#what-makes-a-difference" in set(links(ROOT / "docs" / "captions.md"))
    assert "docs/images/quickstart.jpg" in set(links(ROOT / "README.md"))
    assert {"the-metrics", "do-metrics-agree-with-people"} <= anchors(ROOT / "docs" / "evaluation.md")


def test_every_command_is_in_the_documentation() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in WITH_CODE)
    assert [command for command in SUMMARIES if f"captioning {command}" not in text] == []


def test_the_site_has_every_page_and_package() -> None:
    """scripts/docs refuses a page that is missing; it is not run here, as it needs packages of its own."""
    site = (ROOT / "mkdocs.yml").read_text()
    described = {path.parent.name for path in ROOT.glob("captioning/*/__init__.py") if "__all__ =" in path.read_text()}
    pages = [path.name for path in ROOT.glob("docs/*.md")] + [f"reference/{name}.md" for name in described]
    assert len(described) > 8
    assert [page for page in pages if f": {page}\n" not in site] == []
