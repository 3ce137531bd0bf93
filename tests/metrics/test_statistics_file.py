from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

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


@pytest.mark.parametrize(
    ("table", "image_ids"),
    [
        (np.full((2, 2), np.nan), '[3, "x.jpg"]'),
        (np.full((2, 2), -1.0), '[3, "x.jpg"]'),
        (np.full((2, 2), 1e300), '[3, "x.jpg"]'),
        (np.zeros((2, 2)), '[3, "x.jpg"]'),  # their scores are 0 / 0
        (np.ones((2, 3)), '[3, "x.jpg"]'),
        (np.ones((2, 2)), "[3]"),
        (np.ones((2, 2)), "[3, 3]"),
        (np.ones((2, 2)), "[3, 1.5]"),
        (np.ones((2, 2)), "["),
        (np.ones((2, 2), dtype=np.float32), '[3, "x.jpg"]'),
    ],
)
def test_what_can_be_no_statistics_is_refused(table: NDArray[Any], image_ids: str, tmp_path: Path) -> None:
    path = tmp_path / "statistics.safetensors"
    save_file({"ROUGE-L": table}, path, metadata={"image_ids": image_ids, "references": "abc"})
    with pytest.raises(InputError, match=r"statistics\.safetensors: expected .*; evaluate again"):
        load_statistics(path)


def test_statistics_of_other_packages_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "statistics.safetensors"
    tables = {"ROUGE-L": np.ones((1, 2)), "mypackage.metrics.Length": np.ones((1, 7))}
    save_file(tables, path, metadata={"image_ids": "[3]", "references": "abc"})
    assert load_statistics(path).tables.keys() == {"ROUGE-L"}


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the statistics of an evaluation"):
        load_statistics(tmp_path / "nowhere.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="expected the statistics of an evaluation"):
        load_statistics(tmp_path / "junk.safetensors")
