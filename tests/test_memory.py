"""Freed memory stays with the process only where it asks for that."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from captioning import memory
from captioning.memory import without_collection

FAULTS = """
import resource, torch
from captioning.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(20):
    torch.ones(12_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def glibc() -> bool:
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not glibc(), reason="the settings are glibc's")
def test_large_buffers_are_reused_without_page_faults() -> None:
    def faults(keep: bool) -> int:
        ran = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, check=True)
        return int(ran.stdout)

    pages = 5 * 48_000_000 // 4096
    assert faults(keep=False) > pages // 2
    assert faults(keep=True) < pages // 100


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_nothing_changes_on_other_systems(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert not memory.keep_freed_memory()


def test_nothing_changes_with_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_the_peak_rises_by_what_is_taken_and_does_not_fall() -> None:
    before = memory.peak()
    block = bytearray(b"x") * 150_000_000
    held = memory.peak()
    del block
    after = memory.peak()
    assert before is not None
    assert held is not None
    assert after is not None
    inexact = 2**20  # the system counts pages on each processor, and adds up now and then
    assert 150_000_000 - inexact < held
    assert before - inexact < held < after + inexact


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """The tests freeze the libraries that they import."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("unfrozen")
def test_what_was_made_without_collection_is_old_afterwards() -> None:
    with without_collection():
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    young = {id(x) for generation in (0, 1) for x in gc.get_objects(generation)}
    assert not young & set(map(id, made))


def test_frozen_objects_stay_frozen() -> None:
    before = gc.get_freeze_count()
    with without_collection():
        pass
    assert gc.get_freeze_count() == before > 0
