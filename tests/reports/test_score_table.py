from __future__ import annotations

import csv
import io
import json

import pytest

from captioning.reports.score_table import TEXTS

CONTENT = {
    "metrics": {"BLEU-4": 0.123456789, "CIDEr": 0.5},
    "intervals": {"BLEU-4": [0.1, 0.2], "CIDEr": [0.25, 0.75]},
    "signature": {"bootstrap": {"confidence": 0.95}},
}
OTHER = {
    "with": "runs/other.json",
    "metrics": {"BLEU-4": 0.25, "CIDEr": 1.0},
    "differences": {"CIDEr": {"difference": -0.5, "low": -0.625, "high": -0.375, "p_value": 0.001}},
}


def test_markdown_has_a_row_for_each_score() -> None:
    head, align, *rows = TEXTS["markdown"](CONTENT).splitlines()
    assert [cell.strip() for cell in head.split("|")] == ["", "", "score", "95 % interval", ""]
    assert set(align) <= set("|-: ")
    assert [cell.strip() for cell in rows[0].split("|")] == ["", "BLEU-4", "0.1235", "0.1000 – 0.2000", ""]
    assert len(rows) == 2


def test_latex_escapes_what_latex_would_read() -> None:
    text = TEXTS["latex"](CONTENT)
    assert r"95 \% interval" in text and r"\toprule" in text
    assert r"BLEU-4 &  0.1235 & 0.1000 – 0.2000 \\" in text


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_other_captions_have_their_columns(form: str) -> None:
    text = TEXTS[form]({**CONTENT, "comparison": OTHER})
    for part in ("other.json", "difference", "-0.5000", "-0.6250 – -0.3750", "0.0010", "1.0000"):
        assert part in text


def test_csv_has_unrounded_numbers() -> None:
    assert list(csv.reader(io.StringIO(TEXTS["csv"](CONTENT)))) == [
        ["metric", "score", "low", "high"],
        ["BLEU-4", "0.123456789", "0.1", "0.2"],
        ["CIDEr", "0.5", "0.25", "0.75"],
    ]


def test_csv_leaves_fields_without_a_number_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(TEXTS["csv"]({**CONTENT, "intervals": {}, "comparison": OTHER}))))
    assert rows[0] == {
        **{"metric": "BLEU-4", "score": "0.123456789", "low": "", "high": "", "other": "0.25"},
        **{"difference": "", "difference_low": "", "difference_high": "", "p_value": ""},
    }
    assert (rows[1]["difference"], rows[1]["difference_low"], rows[1]["p_value"]) == ("-0.5", "-0.625", "0.001")


def test_json_is_the_content_itself() -> None:
    assert json.loads(TEXTS["json"](CONTENT)) == CONTENT
