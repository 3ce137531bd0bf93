from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captioning.errors import InputError
from captioning.metrics import CocoScorer
from captioning.metrics.statistics_file import load_statistics, save_statistics

REFERENCES = {3: ["a dog", "the dog"], "x.jpg": ["a cat"]}


def test_statistics_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = CocoScorer(REFERENCES, metrics=["BLEU", "CIDEr"]).score({3: "a dog", "x.jpg": "the cat"})
    save_statistics(tmp_path / "statistics.safetensors", scores, "abc")
    kept = load_statistics(tmp_path / "statistics.safetensors")
    assert (kept.image_ids, kept.references) == ([3, "x.jpg"], "abc")
    assert kept.tables.keys() == {"BLEU", "CIDEr"}
    for name, table in kept.tables.items():
        np.testing.assert_array_equal(table, scores.statistics[name])


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the statistics of an evaluation"):
        load_statistics(tmp_path / "nowhere.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="expected the statistics of an evaluation"):
        load_statistics(tmp_path / "junk.safetensors")
