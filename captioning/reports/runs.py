"""Read the results of runs, and group the runs that differ only in their seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from captioning.files.digests import check_digests
from captioning.files.yaml_files import read_yaml
from captioning.json_files import Finite, read_typed

TEXT_STATISTICS = ("bits_per_character", "unknown_share", "tokens_per_caption")
"""Scores of the language model that tables show only if the runs tokenize captions differently."""

EXTRA_SCORES = ("perplexity", *TEXT_STATISTICS, "seconds")
"""Scores that tables show after the metrics: those of the language model, and the wall-clock time of training."""

_OVERRIDES: Any = list[str] | None  # Hydra's file is empty if a run was killed at its start
_HUGE = 1e100  # squares of far larger values overflow


class _Metrics(msgspec.Struct):
    """What is read of metrics.json. Scores of the language model are not finite if training diverged."""

    metrics: dict[str, Finite]
    language_model: dict[str, float] = {}


@dataclass(frozen=True)
class Run:
    """The results of one run.

    Attributes:
        name: the name of its folder.
        overrides: its settings that differ from the defaults, by name.
        scores: its metrics and extra scores by name; empty if the run failed.
        path: its folder.
    """

    name: str
    overrides: Mapping[str, str]
    scores: Mapping[str, float]
    path: Path = field(default=Path(), compare=False)


@dataclass(frozen=True)
class Setting:
    """The runs that differ only in their seed.

    Attributes:
        values: the values of the settings that differ between the compared runs, in the order of the settings' names.
        runs: the runs with these values, including failed ones.
    """

    values: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def finished(self) -> list[Run]:
        """The runs that have scores."""
        return [run for run in self.runs if run.scores]

    @property
    def count(self) -> str:
        """The number of finished runs, such as "3", or "2 of 3" if some failed."""
        finished, total = len(self.finished), len(self.runs)
        return str(finished) if finished == total else f"{finished} of {total}"

    def scores(self, name: str) -> list[float]:
        """Return a score of each run that has it."""
        return [run.scores[name] for run in self.runs if name in run.scores]

    def text(self, name: str) -> str:
        """Format a score for a table: mean ± standard deviation (n - 1) over runs, such as "0.460 ± 0.046".

        One run gives the mean alone. If every run failed, the text is "failed"; if none has the score, it is empty.
        """
        if not self.finished:
            return "failed"
        values = self.scores(name)
        if not values:
            return ""
        mean, deviation = mean_and_deviation(values)
        digits = 2 if mean >= 10 else 3
        return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean of at least one value, and the standard deviation (n - 1); NaN for one value.

    Both are NaN if a value is not finite, or nearly so, as the perplexity of a run that diverged.
    """
    if not all(abs(value) < _HUGE for value in values):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def is_run(folder: Path) -> bool:
    """Say whether a folder is a run's."""
    return _overrides_file(folder).is_file()


def read_runs(folder: Path) -> list[Run]:
    """Read the runs of a sweep's folder, sorted by name; numbers are sorted by value."""
    return [read_run(run) for run in sorted(filter(is_run, folder.glob("*")), key=lambda run: _natural(run.name))]


def read_run(folder: Path) -> Run:
    """Read the settings and scores of a run.

    Raises:
        InputError: a file of the run is damaged.
    """
    return Run(folder.name, _read_overrides(_overrides_file(folder)), read_scores(folder), folder)


def read_scores(folder: Path) -> dict[str, float]:
    """Read the scores of a run and the cost of its training; empty if it has no results yet.

    Raises:
        InputError: a file of the run is damaged.
    """
    file, cost = folder / "metrics.json", folder / "training.json"
    if not file.is_file():
        return {}
    check_digests(folder, [path.name for path in (file, cost) if path.is_file()])
    content = read_typed(file, _Metrics)
    training = read_typed(cost, dict[str, float | str]) if cost.is_file() else {}
    extra = {name: value for name, value in (content.language_model | training).items() if not isinstance(value, str)}
    return {**content.metrics, **{name: extra[name] for name in EXTRA_SCORES if name in extra}}


def _overrides_file(folder: Path) -> Path:
    return folder / ".hydra" / "overrides.yaml"


def _read_overrides(file: Path) -> dict[str, str]:
    return dict(map(_parse_override, read_yaml(file, _OVERRIDES) or []))


def _parse_override(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return (key[1:], "null") if key.startswith("~") else (key, value)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def setting_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of all settings, in the order of their first occurrence."""
    return list(dict.fromkeys(name for run in runs for name in run.overrides))


def score_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of all scores, in the order of their first occurrence."""
    return list(dict.fromkeys(name for run in runs for name in run.scores))


def shown_score_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of the scores that a table for people shows.

    `TEXT_STATISTICS` are shown only if the runs differ in tokens per caption.
    """
    lengths = {run.scores["tokens_per_caption"] for run in runs if "tokens_per_caption" in run.scores}
    return [name for name in score_names(runs) if len(lengths) > 1 or name not in TEXT_STATISTICS]


def group_by_setting(runs: Sequence[Run]) -> tuple[list[str], list[Setting]]:
    """Return the names of the settings in which runs differ, and the runs with equal values of these.

    The seed, the paths `output` and `checkpoint`, and `resume` do not count as differences.
    """
    names = [name for name in setting_names(runs) if name not in ("seed", "output", "checkpoint", "resume")]
    varied = [name for name in names if len({run.overrides.get(name) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.overrides.get(name, "") for name in varied), []).append(run)
    return varied, [Setting(values, tuple(members)) for values, members in groups.items()]
