"""Rows of `bench search`: every step is taken, and ratios compare the search with its own products."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.benchmarks import search as benchmarks
from captioning.benchmarks.search import CASES, SEARCHES, SPECIAL, Case, Sizes, bench_search, build, measure
from captioning.benchmarks.timing import Ratio

SMALL = Sizes(vocabulary=41, width=7, features=13, regions=5, steps=3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.decoder} {case.search} {case.images} {case.dtype}")
def test_no_caption_ends_early(case: Case) -> None:
    decoder, features = build(replace(case, images=3), SMALL, getattr(torch, case.dtype))
    found = SEARCHES[case.search](case.beam_size, SMALL.steps)(decoder, features, SPECIAL)
    assert found.lengths.eq(SMALL.steps).all()
    assert not found.finished.any()
    assert len(found.tokens) == 3


def test_rows_have_the_case_and_images_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([5_000_000, 12_000_000])
    monkeypatch.setattr(benchmarks, "peak", lambda: next(peaks))
    monkeypatch.setattr(benchmarks, "compare", lambda run, floor, repeat: Ratio(4.0, 2.0, 0.5, 0.1))
    case = Case(decoder="mrnn", search="beam", beam_size=2, images=8)
    assert vars(measure(case, SMALL, torch.get_num_threads())) == {
        "decoder": "mrnn",
        "search": "beam",
        "beam_size": 2,
        "images": 8,
        "dtype": "float32",
        "vocabulary": 41,
        "images_per_second": 2.0,
        "floor_images_per_second": 4.0,
        "ratio": 0.5,
        "spread": 0.1,
        "peak_memory_mb": 7.0,
    }


def test_each_row_has_a_process_of_its_own_and_its_peak_of_memory() -> None:
    case = Case(decoder="show_and_tell", search="greedy", beam_size=1, images=512, repeat=1)
    (row,) = bench_search([case], replace(SMALL, vocabulary=40_000))
    assert row.images_per_second > 0
    assert row.ratio > 0
    logits = 512 * 40_000 * 4 / 1e6
    assert row.peak_memory_mb is None or logits < row.peak_memory_mb < 4 * logits
