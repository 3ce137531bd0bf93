"""One process writes a folder at a time, and its end frees the folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.lock import locked

HOLD = """
import sys
from captioning.files.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends_in_any_way(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=r"another process is writing .*run; wait"), locked(tmp_path / "run"):
            pass
        first.kill()
        first.wait()
        with locked(tmp_path / "run"):
            pass


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"run cannot be written: Not a directory"), locked(tmp_path / "file" / "run"):
        pass


def test_an_error_within_the_lock_is_not_the_lock_s(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="own"), locked(tmp_path):
        raise TimeoutError("own")
    with locked(tmp_path):
        pass
