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
from captioning.reports.page import environment
from captioning.reports.sweeps import Run, Setting, by_setting, mean_and_deviation, read_run, read_runs, shown

LEVEL = 0.05  # of significance
REPLICATES = 1000
NOTE = "Fractions: mean ± standard deviation over seeds. "
TESTED = (
    "Bold: better than every other row, by a paired bootstrap over images with the seeds' mean, "
    f"p < {LEVEL}; what stands beside the metrics is not tested."
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
        note: what the figures are, and what bold says or why there is none.
    """

    settings: Sequence[str]
    names: Sequence[str]
    rows: Sequence[Row]
    note: str

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
        return "\n".join([*lines, "", self.note, ""])

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
        return environment().get_template("comparison.html").render(report=self, rows=rows, note=self.note)


def _texts(report: Report, row: Row) -> list[tuple[str, str]]:
    failed = not any(row.figures.values())
    return [(name, "failed" if failed else mean_and_deviation(row.figures[name])) for name in report.names]


def report(folders: Sequence[Path], *, seed: int = 0) -> Report:
    """Make the table of runs.

    Args:
        folders: of runs, or of sweeps, which stand for all their runs.
        seed: of the bootstrap.

    Raises:
        InputError: a folder is no run's and no sweep's.
    """
    found = (run for folder in folders for run in _runs_of(folder))
    runs = list({run.path.resolve(): run for run in found}.values())
    varied, settings = by_setting(runs)
    names = shown(runs)
    best, note = _best(settings, seed)
    rows = [
        Row(
            setting.values,
            setting.count,
            {name: setting.figures(name) for name in names},
            frozenset(name for name, values in best.items() if values == setting.values),
        )
        for setting in settings
    ]
    return Report(varied, names, rows, NOTE + note)


def _runs_of(folder: Path) -> list[Run]:
    if (folder / ".hydra" / "overrides.yaml").is_file():
        return [read_run(folder)]
    if runs := read_runs(folder):
        return runs
    raise InputError(f"{folder}: expected the folder of a run, of an evaluation, or of a sweep; it is none")


def _best(settings: Sequence[Setting], seed: int) -> tuple[dict[str, tuple[str, ...]], str]:
    """For each figure the setting that is significantly better than every other, where there is one; and a note."""
    ended = [setting for setting in settings if setting.ended]
    if len(ended) < 2:
        return {}, "There is nothing to compare."
    kept = []
    for setting in ended:
        files = [run.path / "statistics.safetensors" for run in setting.ended]
        if missing := [str(file.parent) for file in files if not file.is_file()]:
            return {}, f"No row is tested: {', '.join(missing)} without statistics.safetensors; evaluate again."
        kept.append([load_statistics(file) for file in files])
    first, *others = [run for runs in kept for run in runs]
    if any((run.image_ids, run.references) != (first.image_ids, first.references) for run in others):
        return {}, "No row is tested: the runs are of different images or references."
    num_images = len(first.image_ids)
    weights = np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), REPLICATES)
    found: dict[str, tuple[str, ...]] = {}
    for metric in set(first.tables).intersection(*(run.tables for run in others)):
        figures = [np.mean([_figures(metric, run.tables[metric], weights) for run in runs], axis=0) for runs in kept]
        better = _better(METRICS[metric].names, np.stack(figures))
        found |= {name: ended[row].values for name, row in better.items()}
    return found, TESTED


def _figures(metric: str, statistics_: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Figures on all images, in the first row, and on those drawn: (1 + replicates, J)."""
    totals = np.concatenate([statistics_.sum(0, keepdims=True), weights @ statistics_])
    return METRICS[metric].scores(totals)


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
