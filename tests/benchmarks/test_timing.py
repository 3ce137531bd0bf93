"""Two functions are measured alternately, and compared by medians."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from captioning.benchmarks import timing
from captioning.benchmarks.timing import compare, spread


def test_two_functions_alternate_and_the_first_call_of_each_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], list[str]()
    durations = {"a": iter([100.0, 1.0, 4.0, 2.0]), "b": iter([100.0, 3.0, 4.0, 1.0])}
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def call(name: str) -> None:
        calls.append(name)
        now[0] += next(durations[name])

    found = compare(lambda: call("a"), lambda: call("b"), repeat=3)
    assert "".join(calls) == "abababab"
    assert (found.seconds, found.other_seconds) == (2.0, 3.0)
    assert found.ratio == 1.0  # of 3, 1 and 0.5, not 3.0 / 2.0
    assert found.spread == pytest.approx(2.0 - 0.75)


def test_the_spread_is_the_interquartile_range() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == 2.0
    assert spread([7.0]) == 0.0
