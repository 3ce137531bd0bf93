"""How far confidences can be trusted, as text and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captioning.reports.calibration import print_report, write_calibration

BINS: dict[str, Any] = {
    "counts": (100, 150),
    "confidences": (0.25, 0.75),
    "accuracies": (0.2, 0.8),
    "ece": 0.05,
    "low": 0.02,
    "high": 0.09,
    "chance": 0.03,
}
CONTENT: dict[str, Any] = {
    "correctness": {"metric": "CIDEr", "threshold": 0.2},
    "fitted": {"data": "a <b>", "split": "val", "num_images": 250},
    "num_images": 250,
    "captions": {
        "right": 0.56,
        "equal_mass": BINS,
        "equal_width": BINS,
        "risk": {"1": 0.44, "0.7": 0.22, "0.5": 0.0},
        "auroc": 0.8125,
    },
    "words": {"equal_mass": BINS, "equal_width": BINS},
    "out_of_domain": {"flagged": 0.004, "num_outside": 40, "flagged_outside": 0.9, "auroc": 0.995},
    "risk_control": {"risk": 0.1, "min_confidence": 0.4312, "coverage": 0.6, "given_and_wrong": 0.092},
}


def test_the_report_says_what_each_number_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(CONTENT)
    out = capsys.readouterr().out
    for text in (
        "a caption is right if its CIDEr is at least 0.2; 56.0% are",
        "fitted on 250 images of a <b> val, reported on 250",
        "ECE, 2 bins of equal mass: 0.0500 (0.0200 – 0.0900); of perfect confidences 0.0300",
        "AUROC of right against wrong captions 0.812",
        "0.500",  # the risk at 0.7 by that at 1
        "out of domain: 0.40% of these images",
        "40 images from elsewhere: 90.00% are out of domain; AUROC of their distance 0.9950",
        "risk 0.1: give captions with --min-confidence 0.4312; here 60.0% of the images get a caption, and 9.2%",
    ):
        assert text in out


def test_captions_without_risk_and_a_report_without_further_parts_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    captions = {**CONTENT["captions"], "risk": {"1": 0.0, "0.7": 0.0}}
    short = {key: value for key, value in CONTENT.items() if key != "risk_control"}
    print_report({**short, "captions": captions, "out_of_domain": {"flagged": 0.0}})
    out = capsys.readouterr().out
    assert "elsewhere" not in out
    assert "min-confidence" not in out


def test_the_page_has_the_diagrams_and_escapes_names(tmp_path: Path) -> None:
    write_calibration(tmp_path / "page.html", CONTENT)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 3
    assert page.count("<circle") == 2 * 2
    assert 'points="200.0,112.0 140.0,156.0 100.0,200.0 "' in page
    assert "a &lt;b&gt;" in page
    assert "<b>" not in page
