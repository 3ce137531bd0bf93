"""Print and write a table over the runs of a sweep when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from captioning.errors import shown
from captioning.processes import is_first_process
from captioning.reports.runs import Run, group_by_setting, read_runs, score_names, setting_names, shown_score_names
from captioning.reports.tables import console, write_table


class SweepTable(Callback):  # type: ignore[misc] # hydra is untyped
    """At the end of a sweep, print one row per setting with means over seeds, and write all runs to sweep.csv."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the runs from their folders, so that runs of other machines are included."""
        if not is_first_process():
            return
        folder = Path(config.hydra.sweep.dir)
        runs = read_runs(folder)
        if not runs:
            return
        write_runs(folder / "sweep.csv", runs)
        printer = console()
        printer.print(summary_table(runs))
        if failed := [run.name for run in runs if not run.scores]:
            printer.print(
                f"{len(failed)} of {len(runs)} runs failed: {shown(', '.join(failed), 300)}; see their error.txt"
            )
        printer.print(f"all runs: {shown(folder / 'sweep.csv', 300)}")


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write one CSV row per run with its settings and scores."""
    settings, names = setting_names(runs), score_names(runs)
    write_table(
        path,
        ["run", *settings, *names],
        [
            [run.name, *(run.overrides.get(s, "") for s in settings), *(run.scores.get(n, "") for n in names)]
            for run in runs
        ],
    )


def summary_table(runs: Sequence[Run]) -> Table:
    """Build a table with one row per setting: mean ± standard deviation (n - 1) over seeds."""
    varied, settings = group_by_setting(runs)
    names = shown_score_names(runs)
    table = Table(title="metrics as fractions: mean ± standard deviation over seeds")
    for column in (*map(shown, varied), "runs"):
        table.add_column(column)
    for name in names:
        table.add_column(name, justify="right")
    for setting in settings:
        table.add_row(*map(shown, setting.values), setting.count, *map(setting.text, names))
    return table
