"""What is derived from large files is computed once, and made again if its copy is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from captioning.files import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def counted(value: dict[bytes, bytes]) -> tuple[list[int], Callable[[], dict[bytes, bytes]]]:
    calls: list[int] = []

    def make() -> dict[bytes, bytes]:
        calls.append(1)
        return value

    return calls, make


def test_a_value_is_made_once() -> None:
    calls, make = counted({b"a": b"1\n", b"": b"\xff"})
    for _ in range(2):
        assert cache.get("table", dict[bytes, bytes], make) == {b"a": b"1\n", b"": b"\xff"}
    assert len(calls) == 1
    assert [path.name for path in cache.folder().iterdir()] == ["table"]


@pytest.mark.parametrize("content", [b"", b"short", bytes(64)])
def test_a_damaged_file_is_made_again_with_a_warning(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    calls, make = counted({b"a": b"1"})
    cache.get("table", dict[bytes, bytes], make)
    (cache.folder() / "table").write_bytes(content)
    assert cache.get("table", dict[bytes, bytes], make) == {b"a": b"1"}
    assert len(calls) == 2
    assert "cannot be used" in caplog.text
    cache.get("table", dict[bytes, bytes], make)
    assert len(calls) == 2


def test_every_changed_byte_is_noticed() -> None:
    calls, make = counted({b"a": b"1"})
    cache.get("table", dict[bytes, bytes], make)
    whole = (cache.folder() / "table").read_bytes()
    for at in range(len(whole)):
        (cache.folder() / "table").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.get("table", dict[bytes, bytes], make) == {b"a": b"1"}
    assert len(calls) == 1 + len(whole)


def test_values_of_another_type_are_made_again() -> None:
    cache.get("table", list[int], lambda: [1])
    assert cache.get("table", dict[bytes, bytes], lambda: {b"a": b"1"}) == {b"a": b"1"}


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    (tmp_path / "captioning").write_text("a file")
    assert cache.get("table", list[int], lambda: [1]) == [1]
