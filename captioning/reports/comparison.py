"""Compare runs in one table: mean and standard deviation over seeds, and significantly best scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown
from captioning.files.digests import check_digests
from captioning.metrics import METRICS, Metric
from captioning.metrics.statistics_file import load_statistics
from captioning.metrics.uncertainty import ROUNDING
from captioning.reports.differences import KINDS, Difference, differences
from captioning.reports.runs import (
    Run,
    Setting,
    group_by_setting,
    is_run,
    mean_and_deviation,
    read_run,
    read_runs,
    shown_score_names,
)
from captioning.reports.templates import render

SIGNIFICANCE_LEVEL = 0.05
NUM_REPLICATES = 1000
STATISTICS = "statistics.safetensors"
KEPT = (STATISTICS, *KINDS)
"""The files of per-image values; a result has one of them."""
NOTE = "Metrics are fractions: mean ± standard deviation over seeds. "
TESTED = (
    "Bold: the mean over seeds is significantly better than that of every other row, by a paired bootstrap over "
    f"images, p < {SIGNIFICANCE_LEVEL}. Columns after the metrics are not tested."
)
DIFFERENCES = (
    "Difference: the best row minus the other row, with an interval by a paired bootstrap over images and a two-sided "
    f"p-value by approximate randomization. Bold: p < {SIGNIFICANCE_LEVEL} against every other row. The p-values are "
    "not corrected for the number of tests."
)


@dataclass(frozen=True)
class Comparison:
    """A table of runs with one row per setting.

    Attributes:
        setting_names: the names of the settings that differ between rows.
        score_names: the names of the scores.
        settings: the rows.
        best: for each score with a significantly best row, the index of that row.
        note: what the scores are, and what bold means or why no row was tested.
        differences: those of each score between its best row and every other; of detectors and matchers only.
    """

    setting_names: Sequence[str]
    score_names: Sequence[str]
    settings: Sequence[Setting]
    best: Mapping[str, int]
    note: str
    differences: Sequence[Difference] = ()

    def markdown(self) -> str:
        """Format the table, the differences and the note as Markdown."""
        head = [*self.setting_names, "runs", *self.score_names]
        align = ["---"] * (len(self.setting_names) + 1) + ["---:"] * len(self.score_names)
        body = [
            [
                *setting.values,
                setting.count,
                *(
                    f"**{setting.text(name)}**" if self.is_best(row, name) else setting.text(name)
                    for name in self.score_names
                ),
            ]
            for row, setting in enumerate(self.settings)
        ]
        tables = [_lines(head, align, *body)]
        if self.differences:
            head, *rows = self.difference_table
            tables.append(_lines(head, ["---"] * 3 + ["---:"] * 3, *rows))
        return "\n".join([*(line for table in tables for line in (*table, "")), self.note, ""])

    @property
    def difference_table(self) -> list[list[str]]:
        """The differences as text, a row each below the columns' names."""
        rows = [
            [
                of.score,
                self._label(of.best),
                self._label(of.other),
                f"{of.found.difference:+.4f}",
                f"{of.found.low:+.4f} – {of.found.high:+.4f}",
                f"{of.found.p_value:.4f}",
            ]
            for of in self.differences
        ]
        return [["score", "best row", "other row", "difference", "95 % interval", "p"], *rows]

    def _label(self, row: int) -> str:
        return ", ".join(value or "default" for value in self.settings[row].values)

    def csv(self) -> str:
        """Format the table as CSV with a column each for mean, standard deviation and best (0 or 1) of every score.

        With differences there are four more: that of the best row minus this row, the interval's ends, and p. They are
        empty in the best row, and for scores that are not tested. Tested scores that the table does not show come last.
        """
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        found = {(of.score, of.other): of.found for of in self.differences}
        parts = ("mean", "deviation", "best", *(("difference", "low", "high", "p_value") if found else ()))
        names = dict.fromkeys([*self.score_names, *(of.score for of in self.differences)])
        writer.writerow([*self.setting_names, "runs", *(f"{name} {part}" for name in names for part in parts)])
        for row, setting in enumerate(self.settings):
            cells: list[object] = [*setting.values, setting.count]
            for name in names:
                values = setting.scores(name)
                mean, deviation = mean_and_deviation(values) if values else ("", "")
                cells += [mean, deviation if len(values) > 1 else "", int(self.is_best(row, name))]
                if found:
                    cells += astuple(found[name, row]) if (name, row) in found else ("",) * 4
            writer.writerow(cells)
        return file.getvalue()

    def html(self) -> str:
        """Format the table as a self-contained HTML page."""
        return render("comparison.html", comparison=self)

    def is_best(self, row: int, name: str) -> bool:
        """Say whether a row is significantly better than every other row in a score."""
        return self.best.get(name) == row


def compare_runs(folders: Sequence[Path], *, seed: int = 0) -> Comparison:
    """Compare runs, and test which setting is significantly best in each metric.

    Args:
        folders: the folders of runs or sweeps; a sweep adds all its runs.
        seed: the seed of the bootstrap.

    Raises:
        InputError: a folder is neither a run's nor a sweep's, or a file of a run is damaged.
    """
    found = (run for folder in folders for run in _runs_of(folder))
    runs = list({run.path.resolve(): run for run in found}.values())
    varied, settings = group_by_setting(runs)
    best, tested, note = _test(settings, seed)
    return Comparison(varied, shown_score_names(runs), settings, best, NOTE + note, tested)


def _lines(*rows: Sequence[str]) -> list[str]:
    """Format the rows of a Markdown table."""
    return ["| " + " | ".join(shown(cell).replace("|", "\\|") for cell in cells) + " |" for cells in rows]


def _runs_of(folder: Path) -> list[Run]:
    if is_run(folder):
        return [read_run(folder)]
    if runs := read_runs(folder):
        return runs
    raise InputError(f"{shown(folder, 300)}: expected the folder of a run, an evaluation or a sweep; give one of these")


def _test(settings: Sequence[Setting], seed: int) -> tuple[dict[str, int], list[Difference], str]:
    """Find the significantly best row of each score; return the tested differences and a note as well."""
    folders = {row: [run.path for run in s.finished] for row, s in enumerate(settings) if s.finished}
    if len(folders) < 2:
        return {}, [], "There is nothing to compare."
    kept = {path: {name for name in KEPT if (path / name).is_file()} for group in folders.values() for path in group}
    if missing := ", ".join(str(path) for path, names in kept.items() if not names):
        return {}, [], f"No row is tested: {shown(missing, 300)} without {', '.join(KEPT)}; evaluate again."
    common = set(KEPT).intersection(*kept.values())
    if not common:
        return {}, [], "No row is tested: the runs are of models of different kinds."
    if STATISTICS in common:
        best, note = _best(folders, seed)
        return best, [], note
    found, reason = differences(common.pop(), folders, seed=seed)
    if reason:
        return {}, [], f"No row is tested: {reason}."
    insignificant = {of.score for of in found if of.found.p_value >= SIGNIFICANCE_LEVEL}
    return {of.score: of.best for of in found if of.score not in insignificant}, found, DIFFERENCES


def _best(folders: Mapping[int, Sequence[Path]], seed: int) -> tuple[dict[str, int], str]:
    """Find the significantly best row of each score of captions; return a note as well."""
    rows, loaded = list(folders), []
    for group in folders.values():
        for folder in group:
            check_digests(folder, [STATISTICS])
        loaded.append([load_statistics(folder / STATISTICS) for folder in group])
    first, *others = [run for runs in loaded for run in runs]
    if any((run.image_ids, run.references) != (first.image_ids, first.references) for run in others):
        return {}, "No row is tested: the runs have different images or references."
    num_images = len(first.image_ids)
    if num_images < 2:
        return {}, "No row is tested: there is one image."
    weights = np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), NUM_REPLICATES)
    best: dict[str, int] = {}
    for metric in set(first.tables).intersection(*(run.tables for run in others)):
        scores = [np.mean([_scores(metric, run.tables[metric], weights) for run in runs], axis=0) for runs in loaded]
        found = _significantly_best(METRICS[metric], np.stack(scores))
        best |= {name: rows[index] for name, index in found.items()}
    return best, TESTED


def _scores(metric: str, statistics_: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute a metric's J scores, (1 + replicates, J): of all images in row 0, then of each replicate."""
    totals = np.concatenate([statistics_.sum(0, keepdims=True), weights @ statistics_])
    return METRICS[metric].scores(totals)


def _significantly_best(metric: type[Metric], scores: NDArray[np.float64]) -> dict[str, int]:
    """Find each score's row that beats all others in nearly all replicates; `scores` are (rows, 1 + replicates, J)."""
    if metric.mode == "min":
        scores = -scores
    found = {}
    for j, name in enumerate(metric.names):
        first = int(scores[:, 0, j].argmax())
        gains = np.delete(scores[first, 1:, j] - scores[:, 1:, j], first, axis=0)
        p_values = 2 * ((gains <= ROUNDING).sum(1) + 1) / (gains.shape[1] + 1)
        if (p_values < SIGNIFICANCE_LEVEL).all():
            found[name] = first
    return found
