"""The result of a model that writes no captions: its scores, and what determines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioning.files.atomic import remove_unfinished, write_json
from captioning.files.digests import DIGESTS
from captioning.metrics import Interval
from captioning.reports.result import BOOTSTRAP, print_scores, seal, writing
from captioning.reports.tables import console, write_table


@dataclass(frozen=True)
class ScoreResult:
    """Scores with confidence intervals, and further tables.

    Attributes:
        scores: by name; these stand in the tables of runs.
        details: further scores by name, such as those of classes of words.
        intervals: of those scores and details that have one.
        signature: what determines the scores: data set, split, number of images.
        tables: rows by the name of a CSV file; the first row holds the columns' names.
        files: what writes a further file to a path, by the file's name: that from which two results are compared.
        notes: printed below the scores.
        bootstrap: how the intervals were computed.
    """

    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    signature: Mapping[str, Any]
    details: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    bootstrap: Mapping[str, Any] = field(default_factory=lambda: BOOTSTRAP)

    @property
    def content(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "metrics": dict(self.scores),
            **({"details": dict(self.details)} if self.details else {}),
            "intervals": {name: [interval.low, interval.high] for name, interval in self.intervals.items()},
            **({"notes": list(self.notes)} if self.notes else {}),
            "signature": {**self.signature, "bootstrap": dict(self.bootstrap)},
        }

    def write(self, folder: Path, *, training: Mapping[str, float | str] | None = None) -> None:
        """Write metrics.json, the tables, the further files, and at last their digests.

        Args:
            folder: created if it does not exist.
            training: as of `Result.write`.

        Raises:
            InputError: a file cannot be written.
        """
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            (folder / DIGESTS).unlink(missing_ok=True)
            write_json(folder / "metrics.json", self.content)
            for name, (columns, *rows) in self.tables.items():
                write_table(folder / name, list(columns), rows)
            for name, write in self.files.items():
                write(folder / name)
            if training is not None:
                write_json(folder / "training.json", training)
            further = [*self.tables, *self.files, *([] if training is None else ["training.json"])]
            seal(folder, ["metrics.json", *further])

    def print(self) -> None:
        """Print scores and details as a table."""
        print_scores({**self.content, "metrics": {**self.scores, **self.details}})
        for note in self.notes:
            console().print(note, soft_wrap=True)
