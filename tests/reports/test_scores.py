"""The result of a model without captions: its files, their digests, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.files.digests import check_digests
from captioning.metrics import Interval
from captioning.reports.scores import ScoreResult

RESULT = ScoreResult(
    scores={"AP": 0.25, "loss": 3.0},
    intervals={"AP": Interval(0.25, 0.2, 0.3)},
    details={"AP NN": 0.125},
    signature={"data": "scenes", "split": "val", "num_images": 8},
    files={"ranks.safetensors": lambda path: path.write_bytes(b"ranks") and None},
    tables={"per_word.csv": [("word", "AP"), ("a", 0.5), ("dog", 0.0)]},
    notes=("2 words are left out",),
)


def test_the_files_hold_scores_intervals_and_tables_with_their_digests(tmp_path: Path) -> None:
    RESULT.write(tmp_path, training={"seconds": 2.0})
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["metrics"] == {"AP": 0.25, "loss": 3.0}
    assert content["details"] == {"AP NN": 0.125}
    assert content["intervals"] == {"AP": [0.2, 0.3]}
    assert content["notes"] == ["2 words are left out"]
    assert (tmp_path / "per_word.csv").read_text().splitlines() == ["word,AP", "a,0.5", "dog,0.0"]
    assert check_digests(tmp_path, ["metrics.json", "per_word.csv", "ranks.safetensors", "training.json"])
    (tmp_path / "per_word.csv").write_text("changed")
    with pytest.raises(InputError, match=r"per_word\.csv"):
        check_digests(tmp_path)


def test_a_second_result_in_a_folder_renews_the_digests(tmp_path: Path) -> None:
    RESULT.write(tmp_path, training={"seconds": 2.0})
    RESULT.write(tmp_path)
    assert check_digests(tmp_path)


def test_scores_intervals_and_notes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    RESULT.print()
    out = capsys.readouterr().out
    assert "scenes val, 8 images (fractions)" in out
    assert "0.2000 – 0.3000" in out
    assert "AP NN" in out
    assert out.endswith("2 words are left out\n")
