"""The locks hold every dependency of pyproject.toml, with hashes, and name no index and no path."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(
    r"^([a-z0-9][a-z0-9.-]*)==([^ ;]+)( ; [^\\\n]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?(?:\n|$))+)", re.M
)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, list[str]]:
    """The versions of each package in a lock; several if they depend on the platform."""
    text = (ROOT / "requirements" / name).read_text()
    versions: dict[str, list[str]] = {}
    for package, version, *_ in ENTRY.findall(text):
        versions.setdefault(canonicalize_name(package), []).append(version)
    assert not ENTRY.sub("", text).strip(), "a line without a hash"
    return versions


def required(*extras: str, alone: bool = False) -> list[Requirement]:
    lines = [] if alone else PROJECT["dependencies"]
    lines = [*lines, *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [found for line in lines if (found := Requirement(line)).name != PROJECT["name"]]


LOCKS = {
    "lock.txt": required(),
    "lock-dev.txt": required("dev", "test", "humans"),
    "lock-docs.txt": required("docs", alone=True),
}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_satisfies_every_dependency(lock: str) -> None:
    versions = locked(lock)
    wrong = [
        str(requirement)
        for requirement in LOCKS[lock]
        if not all(requirement.specifier.contains(v) for v in versions.get(canonicalize_name(requirement.name), ["0"]))
    ]
    assert not wrong, "run scripts/lock"


def test_the_locks_agree() -> None:
    everything, build = locked("lock-dev.txt"), locked("build.txt")
    assert {name: everything[name] for name in locked("lock.txt")} == locked("lock.txt")
    assert all(everything.get(name, version) == version for name, version in build.items())
    assert {"hatchling", "editables", "setuptools"} <= build.keys()


def test_the_locks_name_no_index_and_no_path() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert not re.search(r"://|--index|--find-links|--extra|file:|/", path.read_text())
