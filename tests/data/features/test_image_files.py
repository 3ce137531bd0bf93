"""Replaced image files are noticed by size and content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from captioning.data.features import image_files
from captioning.data.features.image_files import replaced, states
from captioning.errors import InputError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{row}.jpg" for row in range(7)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_a_state_is_size_time_and_sha256(files: list[Path]) -> None:
    found = states(files)
    assert found.shape == (7, 6)
    assert found[3, :2].tolist() == [5, files[3].stat().st_mtime_ns]
    assert found[3, 2:].tobytes() == hashlib.sha256(b"3.jpg").digest()
    assert replaced(files, found, contents=True) == []


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.jpg: cannot be read \(No such file"):
        states([tmp_path / "nowhere.jpg"])


def test_of_a_copied_data_set_few_files_are_read(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    known = states(files)
    for path in files:
        os.utime(path, ns=(1, 1))
    files[6].write_bytes(b"7.jpg")
    monkeypatch.setattr(image_files, "MOST_READ", 4)
    assert replaced(files, known, contents=False) == [6]
    monkeypatch.setattr(image_files, "MOST_READ", 3)
    assert replaced(files, known, contents=False) == [6]  # of 0, 3 and 6
    monkeypatch.setattr(image_files, "MOST_READ", 1)
    assert replaced(files, known, contents=False) == []
    assert replaced(files, known, contents=True) == [6]


def test_missing_files_are_left_out(files: list[Path]) -> None:
    known = states(files)
    files[2].unlink()
    assert replaced(files, known, contents=True) == []
    assert replaced(files[:1] + files[:6], np.roll(known, 1, axis=0), contents=False) == [0]
