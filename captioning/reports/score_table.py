"""The scores of a result as a table for people, papers and programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from tabulate import tabulate

from captioning.errors import shown


def header(content: Mapping[str, Any]) -> list[str]:
    """Name the columns of a result's table.

    Args:
        content: as `Result.content`.
    """
    other = content.get("comparison")
    names = ["", "score", *([_interval(content)] if content["intervals"] else [])]
    if other:
        names.append(shown(Path(other["with"]).name))
        names += ["difference", _interval(content), "p"] if other["differences"] else []
    return names


def rows(content: Mapping[str, Any]) -> list[list[str]]:
    """List the rows of a result's table, one for each score."""
    return [
        [
            name,
            f"{score:.4f}",
            *([_ends(content["intervals"].get(name))] if content["intervals"] else []),
            *_compared(name, content.get("comparison")),
        ]
        for name, score in content["metrics"].items()
    ]


def table(content: Mapping[str, Any]) -> Table:
    """Make a table for a terminal."""
    made = Table()
    for column in header(content):
        made.add_column(column, justify="right" if column else "left")
    for row in rows(content):
        made.add_row(*row)
    return made


def markdown(content: Mapping[str, Any]) -> str:
    """Make a Markdown table."""
    return _tabulated(content, "github")


def latex(content: Mapping[str, Any]) -> str:
    """Make a LaTeX table for the package booktabs."""
    return _tabulated(content, "latex_booktabs")


def as_csv(content: Mapping[str, Any]) -> str:
    """Make a CSV file of unrounded numbers; those that a score does not have are empty."""
    other, file = content.get("comparison"), io.StringIO()
    compared = ("other", "difference", "difference_low", "difference_high", "p_value") if other else ()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["metric", "score", "low", "high", *compared])
    for name, score in content["metrics"].items():
        row = [name, score, *content["intervals"].get(name, ("", ""))]
        if other:
            found = other["differences"].get(name, {})
            row += [other["metrics"][name], *(found.get(key, "") for key in ("difference", "low", "high", "p_value"))]
        writer.writerow(row)
    return file.getvalue().rstrip("\n")


def as_json(content: Mapping[str, Any]) -> str:
    """Make the text of metrics.json."""
    return json.dumps(content, indent=2, ensure_ascii=False)


TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}
"""What makes the text of each format from `Result.content`."""


def _tabulated(content: Mapping[str, Any], form: str) -> str:
    names = header(content)
    align = ["left", *["right"] * (len(names) - 1)]
    text: str = tabulate(rows(content), names, tablefmt=form, colalign=align, disable_numparse=True)
    return text


def _interval(content: Mapping[str, Any]) -> str:
    return f"{100 * content['signature']['bootstrap']['confidence']:g} % interval"


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def _compared(name: str, other: Mapping[str, Any] | None) -> list[str]:
    if other is None:
        return []
    score = f"{other['metrics'][name]:.4f}"
    if (found := other["differences"].get(name)) is None:
        return [score]
    return [score, f"{found['difference']:+.4f}", _ends((found["low"], found["high"])), f"{found['p_value']:.4f}"]
