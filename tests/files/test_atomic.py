"""A kept file is the earlier one or the new one, never a part of either."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.atomic import new_folder, remove_unfinished, replacing, write_json, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from captioning.files.atomic import new_folder, replacing
with {writer}(Path(sys.argv[1])) as new:
    (new / "part" if new.is_dir() else new).write_text("half of")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "first\r\n")
    write_json(tmp_path / "a", {"ü": 1}, indent=None)
    assert (tmp_path / "a").read_text(encoding="utf-8") == '{"ü": 1}\n'
    assert names(tmp_path) == ["a"]


def test_line_ends_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x\r\ny\n")
    assert (tmp_path / "a").read_bytes() == b"x\r\ny\n"


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "earlier")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as new:
        new.write_text("half of")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "earlier"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("writer", ["replacing", "new_folder"])
def test_a_kill_leaves_the_earlier_file_and_what_can_be_removed(tmp_path: Path, writer: str) -> None:
    if writer == "replacing":
        write_text(tmp_path / "a", "earlier")
    before = names(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED.format(writer=writer), tmp_path / "a"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == len(before) + 1
    remove_unfinished(tmp_path)
    assert names(tmp_path) == before
    assert not before or (tmp_path / "a").read_text() == "earlier"


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("earlier")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_device_is_written_directly() -> None:
    write_text("/dev/null", "text")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("write", [lambda p: write_text(p, "x"), lambda p: new_folder(p).__enter__()])
def test_what_cannot_be_written_is_named(write: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match="/dev/null/a cannot be written"):
        write("/dev/null/a")


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "earlier")
    with pytest.raises(InputError, match="a cannot be written: No space left"), replacing(tmp_path / "a") as new:
        new.write_text(Path("/dev/full").write_text("x") and "x")
    assert (tmp_path / "a").read_text() == "earlier"
    assert names(tmp_path) == ["a"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    folder = tmp_path / "parent" / "folder"
    with new_folder(folder) as new:
        write_json(new / "a.json", [1])
        assert not folder.exists()
    assert json.loads((folder / "a.json").read_text()) == [1]
    assert names(folder.parent) == ["folder"]


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a") as new:
        (new / "part").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_folder_with_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()
    with pytest.raises(InputError, match="a cannot be written"), new_folder(tmp_path / "a"):
        pass
    assert names(tmp_path / "a") == ["kept"]


def test_a_folder_of_many_files_is_forced_to_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    monkeypatch.setattr("os.sync", lambda: forced.append("sync"))
    monkeypatch.setattr("captioning.files.atomic._to_disk", lambda path: forced.append(path.name))
    with new_folder(tmp_path / "many") as new:
        for number in range(101):
            (new / str(number)).touch()
    assert forced == ["sync", tmp_path.name]
    assert len(names(tmp_path / "many")) == 101


@pytest.mark.parametrize("redirected", [True, False])
def test_an_open_file_of_the_process_is_written_directly(tmp_path: Path, redirected: bool) -> None:
    program = "import sys; from captioning.files.atomic import write_text; write_text('/dev/stdout', 'scores')"
    with (tmp_path / "out").open("w") as file:
        ran = subprocess.run(
            [sys.executable, "-c", program], stdout=file if redirected else subprocess.PIPE, check=True
        )
    assert ((tmp_path / "out").read_text() if redirected else ran.stdout.decode()) == "scores"
    assert names(tmp_path) == ["out"]
