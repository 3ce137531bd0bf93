"""One table over the runs of a sweep."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from captioning.reports import console, write_table


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        folder: its name in the sweep's folder.
        overrides: what the sweep set.
        metrics: its figures; empty if it failed.
    """

    folder: str
    overrides: Mapping[str, str]
    metrics: Mapping[str, float]


class SweepTable(Callback):  # type: ignore[misc] # hydra is untyped
    """At a sweep's end, print one row a setting with mean and deviation over its seeds; write every run as CSV."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the runs' folders, so that runs on other machines count too."""
        if int(os.environ.get("LOCAL_RANK", "0")):  # the first process of each run tells of them all
            return
        folder = Path(config.hydra.sweep.dir)
        runs = read_runs(folder)
        if not runs:
            return
        write_runs(folder / "sweep.csv", runs)
        printer = console()
        printer.print(summary(runs))
        failed = [run.folder for run in runs if not run.metrics]
        if failed:
            printer.print(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see their error.txt")
        printer.print(f"every run: {folder / 'sweep.csv'}")


def read_runs(folder: Path) -> list[Run]:
    """The runs below a sweep's folder, in the order of their names."""
    runs = []
    for overrides in sorted(folder.glob("*/.hydra/overrides.yaml"), key=lambda path: _natural(path.parts[-3])):
        run = overrides.parents[1]
        set_there = dict(map(_setting, yaml.safe_load(overrides.read_text(encoding="utf-8"))))
        metrics = run / "metrics.json"
        figures: dict[str, float] = {}
        if metrics.is_file():
            content = json.loads(metrics.read_text(encoding="utf-8"))
            figures = {**content["metrics"], "perplexity": content["language_model"]["perplexity"]}
        runs.append(Run(run.name, set_there, figures))
    return runs


def _setting(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return (key[1:], "null") if key.startswith("~") else (key, value)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write one row a run: its settings and its figures."""
    settings, names = _columns(runs)
    write_table(
        path,
        ["run", *settings, *names],
        [
            [run.folder, *(run.overrides.get(s, "") for s in settings), *(run.metrics.get(n, "") for n in names)]
            for run in runs
        ],
    )


def summary(runs: Sequence[Run]) -> Table:
    """One row a setting: mean ± standard deviation (n - 1) over the runs that differ in their seed alone."""
    settings, names = _columns(runs)
    varied = [s for s in settings if s != "seed" and len({run.overrides.get(s) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.overrides.get(s, "") for s in varied), []).append(run)
    table = Table(title="metrics as fractions: mean ± standard deviation over seeds")
    for column in (*varied, "runs"):
        table.add_column(column)
    for name in names:
        table.add_column(name, justify="right")
    for setting, members in groups.items():
        ended = [run for run in members if run.metrics]
        count = str(len(ended)) if len(ended) == len(members) else f"{len(ended)} of {len(members)}"
        table.add_row(*setting, count, *(_mean([run.metrics[n] for run in ended]) for n in names))
    return table


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "failed"
    digits = 2 if statistics.fmean(values) >= 10 else 3
    text = f"{statistics.fmean(values):.{digits}f}"
    return text + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def _columns(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    settings = list(dict.fromkeys(key for run in runs for key in run.overrides))
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    return settings, names
