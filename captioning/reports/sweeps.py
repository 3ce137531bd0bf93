"""The runs of a sweep, and one table over them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from captioning.errors import InputError
from captioning.json_files import read_json
from captioning.reports.tables import console, write_table

OF_THE_TEXT = ("bits_per_character", "unknown_share", "tokens_per_caption")
BESIDE = ("perplexity", *OF_THE_TEXT, "seconds")
"""What a table tells beside the metrics: of the language model, and of its training by the clock."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        folder: its name in the sweep's folder.
        overrides: what the sweep set.
        metrics: its figures; empty if it failed.
        path: of its folder.
    """

    folder: str
    overrides: Mapping[str, str]
    metrics: Mapping[str, float]
    path: Path = field(default=Path(), compare=False)


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
    found = (path.parents[1] for path in folder.glob("*/.hydra/overrides.yaml"))
    return [read_run(run) for run in sorted(found, key=lambda run: _natural(run.name))]


def read_run(folder: Path) -> Run:
    """What a run's folder tells of it.

    Raises:
        InputError: a file of it is damaged.
    """
    file = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: no list of overrides ({error}); is the folder a run's?") from error
    if not isinstance(overrides, list):
        raise InputError(f"{file}: expected a list of overrides, found a {type(overrides).__name__}")
    metrics = folder / "metrics.json"
    figures: dict[str, float] = {}
    if metrics.is_file():
        content = read_json(metrics)
        if not isinstance(content.get("metrics"), dict):
            raise InputError(f"{metrics}: expected the figures of an evaluation under 'metrics'; evaluate again")
        cost = folder / "training.json"
        beside = content.get("language_model", {}) | (read_json(cost) if cost.is_file() else {})
        figures = content["metrics"] | {name: beside[name] for name in BESIDE if name in beside}
    return Run(folder.name, dict(map(_setting, map(str, overrides))), figures, folder)


def _setting(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return (key[1:], "null") if key.startswith("~") else (key, value)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def write_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write one row a run: its settings and its figures."""
    settings, names = columns(runs)
    write_table(
        path,
        ["run", *settings, *names],
        [
            [run.folder, *(run.overrides.get(s, "") for s in settings), *(run.metrics.get(n, "") for n in names)]
            for run in runs
        ],
    )


@dataclass(frozen=True)
class Setting:
    """The runs that differ in their seed alone.

    Attributes:
        values: of the settings that differ between all runs, in their order.
        runs: that have it, failed ones too.
    """

    values: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def ended(self) -> list[Run]:
        """The runs that have figures."""
        return [run for run in self.runs if run.metrics]

    def figures(self, name: str) -> list[float]:
        """One figure of each run that has it."""
        return [run.metrics[name] for run in self.ended if name in run.metrics]

    @property
    def count(self) -> str:
        """How many runs have ended, and of how many where that differs."""
        return str(len(self.ended)) if len(self.ended) == len(self.runs) else f"{len(self.ended)} of {len(self.runs)}"


def by_setting(runs: Sequence[Run]) -> tuple[list[str], list[Setting]]:
    """The names of the settings in which runs differ, and the runs of each.

    The seed is left out, and so is the run's folder, which tells nothing of the model.
    """
    settings, _ = columns(runs)
    told = [s for s in settings if s not in ("seed", "output", "checkpoint")]
    varied = [s for s in told if len({run.overrides.get(s) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.overrides.get(s, "") for s in varied), []).append(run)
    return varied, [Setting(values, tuple(members)) for values, members in groups.items()]


def summary(runs: Sequence[Run]) -> Table:
    """One row a setting: mean ± standard deviation (n - 1) over the runs that differ in their seed alone."""
    varied, settings = by_setting(runs)
    names = shown(runs)
    table = Table(title="metrics as fractions: mean ± standard deviation over seeds")
    for column in (*varied, "runs"):
        table.add_column(column)
    for name in names:
        table.add_column(name, justify="right")
    for setting in settings:
        figures = (mean_and_deviation(setting.figures(name)) if setting.ended else "failed" for name in names)
        table.add_row(*setting.values, setting.count, *figures)
    return table


def mean_and_deviation(values: Sequence[float]) -> str:
    """Write mean ± deviation, as 0.460 ± 0.046; the mean alone of one value, and nothing of none."""
    if not values:
        return ""
    digits = 2 if statistics.fmean(values) >= 10 else 3
    text = f"{statistics.fmean(values):.{digits}f}"
    return text + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def shown(runs: Sequence[Run]) -> list[str]:
    """The names of the figures that a table for people shows.

    How captions are cut is told where runs differ in it.
    """
    _, names = columns(runs)
    lengths = {run.metrics["tokens_per_caption"] for run in runs if "tokens_per_caption" in run.metrics}
    return names if len(lengths) > 1 else [name for name in names if name not in OF_THE_TEXT]


def columns(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The names of all settings and of all figures."""
    settings = list(dict.fromkeys(key for run in runs for key in run.overrides))
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    return settings, names
