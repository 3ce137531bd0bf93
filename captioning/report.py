"""One table over runs: mean and deviation over seeds, and the best where it is really better."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics import METRICS
from captioning.metrics.statistics_file import load_statistics
from captioning.page import environment
from captioning.sweeps import Run, Setting, by_setting, columns, mean_and_deviation, read_run, read_runs

LEVEL = 0.05  # of significance
REPLICATES = 1000
NOTE = (
    "Fractions: mean ± standard deviation over seeds. Bold: better than every other row, by a paired bootstrap over "
    f"images with the seeds' mean, p < {LEVEL}."
)


@dataclass(frozen=True)
class Row:
    """A setting's figures.

    Attributes:
        setting: the values of the settings that differ between rows.
        count: of its runs.
        figures: of each of its runs, by name.
        best: the names of the figures in which it is significantly better than every other row.
    """

    setting: tuple[str, ...]
    count: str
    figures: Mapping[str, Sequence[float]]
    best: frozenset[str]


@dataclass(frozen=True)
class Report:
    """A table.

    Attributes:
        settings: the names of the settings that differ.
        names: of the figures.
        rows: one a setting.
    """

    settings: Sequence[str]
    names: Sequence[str]
    rows: Sequence[Row]

    def markdown(self) -> str:
        """As a Markdown table, with its note."""
        head = [*self.settings, "runs", *self.names]
        align = ["---"] * (len(self.settings) + 1) + ["---:"] * len(self.names)
        body = [
            [
                *row.setting,
                row.count,
                *(f"**{text}**" if name in row.best else text for name, text in _texts(self, row)),
            ]
            for row in self.rows
        ]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (head, align, *body)]
        return "\n".join([*lines, "", NOTE, ""])

    def csv(self) -> str:
        """As CSV: mean, deviation and best of each figure in columns of their own."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        parts = ("mean", "deviation", "best")
        writer.writerow([*self.settings, "runs", *(f"{name} {part}" for name in self.names for part in parts)])
        for row in self.rows:
            cells: list[object] = [*row.setting, row.count]
            for name in self.names:
                values = row.figures[name]
                cells += [statistics.fmean(values) if values else ""]
                cells += [statistics.stdev(values) if len(values) > 1 else "", int(name in row.best)]
            writer.writerow(cells)
        return file.getvalue()

    def html(self) -> str:
        """As a page that needs nothing else."""
        rows = [(row, _texts(self, row)) for row in self.rows]
        return environment().get_template("report.html").render(report=self, rows=rows, note=NOTE)


def _texts(report: Report, row: Row) -> list[tuple[str, str]]:
    return [(name, mean_and_deviation(row.figures[name])) for name in report.names]


def report(folders: Sequence[Path], *, seed: int = 0) -> Report:
    """Make the table of runs.

    Args:
        folders: of runs, or of sweeps, which stand for all their runs.
        seed: of the bootstrap.

    Raises:
        InputError: a folder is no run's and no sweep's.
    """
    runs = [run for folder in folders for run in _runs_of(folder)]
    varied, settings = by_setting(runs)
    _, names = columns(runs)
    best = _best(settings, seed)
    rows = [
        Row(
            setting.values,
            setting.count,
            {name: [run.metrics[name] for run in setting.ended if name in run.metrics] for name in names},
            frozenset(name for name, row in best.items() if row == n),
        )
        for n, setting in enumerate(settings)
    ]
    return Report(varied, names, rows)


def _runs_of(folder: Path) -> list[Run]:
    if (folder / ".hydra" / "overrides.yaml").is_file():
        return [read_run(folder)]
    if runs := read_runs(folder):
        return runs
    raise InputError(f"{folder}: expected the folder of a run of `captioning train`, or of a sweep; it is neither")


def _best(settings: Sequence[Setting], seed: int) -> dict[str, int]:
    """For each figure the row that is significantly better than every other, where there is one."""
    tables = [[_statistics(run) for run in setting.ended] for setting in settings]
    known = [table for runs in tables for table in runs]
    if len(tables) < 2 or not all(tables) or any(images != known[0][0] for images, _ in known):
        return {}  # nothing to compare, or figures of different images
    num_images = len(known[0][0])
    if not num_images:
        return {}
    weights = np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), REPLICATES)
    found: dict[str, int] = {}
    for metric in set.intersection(*(set(table) for _, table in known)):
        columns_of = [
            np.mean([_figures(metric, table[metric], weights) for _, table in rows], axis=0) for rows in tables
        ]
        found |= _better(METRICS[metric].names, np.stack(columns_of))
    return found


def _statistics(run: Run) -> tuple[list[int | str], dict[str, NDArray[np.float64]]]:
    path = run.path / "statistics.safetensors"
    return load_statistics(path) if path.is_file() else ([], {})


def _figures(metric: str, statistics_: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Figures on all images, in the first row, and on those drawn: (1 + replicates, J)."""
    totals = np.concatenate([statistics_.sum(0, keepdims=True), weights @ statistics_])
    return METRICS[metric].figures(totals)


def _better(names: Sequence[str], figures: NDArray[np.float64]) -> dict[str, int]:
    """The row that is best and beats each other in all but a few of the replicates; figures are (rows, 1 + R, J)."""
    found = {}
    for j, name in enumerate(names):
        first = int(figures[:, 0, j].argmax())
        gains = np.delete(figures[first, 1:, j] - figures[:, 1:, j], first, axis=0)
        p_values = 2 * ((gains <= 0).sum(1) + 1) / (gains.shape[1] + 1)
        if (p_values < LEVEL).all():
            found[name] = first
    return found
