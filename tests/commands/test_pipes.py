"""A reader of stdout that has enough, as in `captioning caption ... | head -2`: nothing is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A command that prints line by line, as `caption` does, and one that leaves what it prints to the end.
CODE = """
import sys
from types import SimpleNamespace
from captioning.commands import main

def broken(arguments):
    raise BrokenPipeError(32, "Broken pipe")

commands = {
    "caption": lambda arguments: [print(n, flush=True) for n in range(9)] and 0,
    "report": lambda arguments: print("a table") or 0,
    "train": broken,
}
for name, command in commands.items():
    sys.modules[f"captioning.commands.{name}"] = SimpleNamespace(main=command)
raise SystemExit(main(sys.argv[1:]))
"""


def run(*arguments: str, stdout: int, unbuffered: bool = False) -> tuple[int, str]:
    """The status and what is said on stderr."""
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONUNBUFFERED": "1" if unbuffered else "",
        },
    )
    return ran.returncode, ran.stderr


@pytest.fixture
def unread() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    "arguments", [["caption"], ["report"], ["scenes", "--help"], ["--help"], ["--version"]], ids=" ".join
)
def test_a_reader_that_has_gone_ends_a_command_without_a_word(unread: int, arguments: list[str]) -> None:
    assert run(*arguments, stdout=unread) == (141, "")


def test_so_it_does_where_nothing_is_buffered(unread: int) -> None:
    assert run("caption", stdout=unread, unbuffered=True) == (141, "")


def test_another_pipe_that_breaks_is_reported() -> None:
    assert run("train", stdout=subprocess.PIPE) == (1, "captioning train: Broken pipe\n")
