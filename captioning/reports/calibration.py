"""Print how far confidences can be trusted, and write it as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from captioning.errors import shown
from captioning.files.atomic import write_text
from captioning.reports.tables import console
from captioning.reports.templates import render


def print_report(content: Mapping[str, Any]) -> None:
    """Print the report of `captioning calibrate`.

    Args:
        content: of `captioning.evaluation.calibration.report`, with `correctness` and `fitted`.
    """
    print_confidence(content)
    words = content["words"]
    for line in ("", "words: the probability that one of the image's references has the word"):
        console().print(line)
    console().print(_reliability(words["equal_mass"]))
    _print_errors(words)
    print_domain(content["out_of_domain"])
    if control := content.get("risk_control"):
        console().print(
            f"risk {control['risk']:g}: give captions with --min-confidence {control['min_confidence']:.4f}; here "
            f"{control['coverage']:.1%} of the images get a caption, and {control['given_and_wrong']:.1%} a wrong one",
            soft_wrap=True,
        )


def print_confidence(content: Mapping[str, Any]) -> None:
    """Print how far the confidences of captions can be trusted: reliability, ECE, AUROC, risk and coverage.

    Args:
        content: with `correctness`, `fitted`, `num_images` and `captions`.
    """
    own, rule, captions = content["fitted"], content["correctness"], content["captions"]
    for line in (
        f"a caption is right if its {rule['metric']} is at least {rule['threshold']:.4g}; {captions['right']:.1%} are",
        f"fitted on {own['num_images']} images of {own['data']} {own['split']}, reported on {content['num_images']}",
        "",
        "captions: the probability that the caption is right",
    ):
        console().print(shown(line, 300), soft_wrap=True)
    console().print(_reliability(captions["equal_mass"]))
    _print_errors(captions)
    console().print(f"AUROC of right against wrong captions {captions['auroc']:.3f}")
    table = Table("coverage", *captions["risk"])
    table.add_row("risk", *(f"{risk:.4f}" for risk in captions["risk"].values()))
    full = captions["risk"]["1"]
    table.add_row("of the risk at 1", *(f"{risk / full:.3f}" if full else "" for risk in captions["risk"].values()))
    console().print(table)


def print_domain(content: Mapping[str, float]) -> None:
    """Print how many images count as out of domain, of the training images' kind and from elsewhere."""
    console().print(f"out of domain: {content['flagged']:.2%} of these images")
    if "auroc" in content:
        console().print(
            f"{content['num_outside']:.0f} images from elsewhere: {content['flagged_outside']:.2%} are out of domain; "
            f"AUROC of their distance {content['auroc']:.4f}",
            soft_wrap=True,
        )


def _reliability(bins: Mapping[str, Any]) -> Table:
    table = Table()
    for column in ("number", "mean confidence", "share right", "difference"):
        table.add_column(column, justify="right")
    for count, confidence, accuracy in zip(bins["counts"], bins["confidences"], bins["accuracies"], strict=True):
        table.add_row(f"{count}", f"{confidence:.3f}", f"{accuracy:.3f}", f"{accuracy - confidence:+.3f}")
    return table


def _print_errors(content: Mapping[str, Any]) -> None:
    for name in ("equal_mass", "equal_width"):
        bins = content[name]
        console().print(
            f"ECE, {len(bins['counts'])} bins of {name.replace('_', ' ')}: {bins['ece']:.4f} "
            f"({bins['low']:.4f} – {bins['high']:.4f}); of perfect confidences {bins['chance']:.4f}",
            soft_wrap=True,
        )


def write_calibration(path: Path, content: Mapping[str, Any]) -> None:
    """Write a self-contained HTML page with the diagrams of captions and words.

    Args:
        path: the file to write.
        content: as for `print_report`.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, render("calibration_page.html", calibration=content))
