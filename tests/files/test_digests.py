"""A folder's digests find each change, and are those of sha256sum."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.digests import DIGESTS, check_digests, write_digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b with spaces").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "empty").touch()
    write_digests(tmp_path)
    return tmp_path


def test_unchanged_files_pass_and_files_without_digest_are_not_read(folder: Path) -> None:
    (folder / "added").touch()
    assert check_digests(folder)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_them(folder: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", DIGESTS], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0
    assert checked.stdout.count(": OK") == 3


def test_each_flipped_bit_is_found(folder: Path) -> None:
    whole = (folder / "b with spaces").read_bytes()
    for bit in (0, 7, 8 * len(whole) - 1, 12_345):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (folder / "b with spaces").write_bytes(changed)
        with pytest.raises(InputError, match=r"1 of 3 files are damaged, changed or missing \(b with spaces\)"):
            check_digests(folder)


def test_a_missing_file_is_found(folder: Path) -> None:
    (folder / "empty").unlink()
    with pytest.raises(InputError, match="empty"):
        check_digests(folder)


def test_a_folder_without_digests_is_not_checked(tmp_path: Path) -> None:
    assert not check_digests(tmp_path)


@pytest.mark.parametrize("line", ["x", f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  a"])
def test_no_file_outside_the_folder_is_read(folder: Path, line: str) -> None:
    (folder / DIGESTS).write_text(f"{line}\n")
    with pytest.raises(InputError, match=f"{DIGESTS}:1: expected a SHA-256 digest and a file name"):
        check_digests(folder)


def test_damaged_digests_are_one_message(folder: Path) -> None:
    (folder / DIGESTS).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is damaged"):
        check_digests(folder)
