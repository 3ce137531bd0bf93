"""CITATION.cff is that of the package: its name, licence and version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from captioning import __version__

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(citation["version"]) == __version__
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
