"""Measure the time from Flickr8k's photographs to a captioner whose CIDEr on the dev split is 0.50.

Each seed runs the commands `captioning extract` and `captioning train experiment=flickr8k/record`, as a user would. Its
time ends with the last command, so it includes imports, scoring and the bundle.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from captioning.errors import InputError, shown
from captioning.reports.runs import read_scores

SEEDS = (1, 2, 3, 4, 5)
GOAL = 0.50
ENCODER = ("encoder=efficientnet_lite2", "encoder.grid=true", "encoder.size=224")
EXPERIMENT = "flickr8k/record"


@dataclass(frozen=True)
class RecordRow:
    """One seed.

    Attributes:
        seed: of the run.
        CIDEr: on the dev split.
        reached: whether CIDEr is at least 0.50.
        extraction_seconds: of `captioning extract`.
        training_seconds: of `captioning train`, with its validation.
        seconds: of both.
        record: the mean of `seconds` without the best and the worst seed; the same in all rows. None if a seed missed
            the goal.
    """

    seed: int
    CIDEr: float
    reached: bool
    extraction_seconds: float
    training_seconds: float
    seconds: float
    record: float | None = None


def bench_record(
    root: Path, weights: Path | None, threads: int | None, output: Path | None = None, seeds: Sequence[int] = SEEDS
) -> list[RecordRow]:
    """Measure each seed, one after another.

    Args:
        root: Flickr8k's folder.
        weights: a file of the encoder's weights; None downloads them, which counts where it happens.
        threads: the number of CPU threads; None for torch's choice.
        output: where the runs stay, in folders named after their seeds; None removes them.
        seeds: of the runs, three or more.

    Raises:
        InputError: a command fails.
    """
    data = ["data=flickr8k", f"data.root={root.absolute()}", *ENCODER]
    data += [] if weights is None else [f"encoder.weights={weights.absolute()}"]
    with tempfile.TemporaryDirectory() as temporary:
        kept = Path(temporary) if output is None else output
        return with_record([_measured(seed, data, kept / f"seed{seed}", threads) for seed in seeds])


def with_record(rows: Sequence[RecordRow]) -> list[RecordRow]:
    """Add the mean time of all rows but the best and the worst, if every row reached the goal."""
    times = sorted(row.seconds for row in rows)[1:-1]
    record = statistics.mean(times) if times and all(row.reached for row in rows) else None
    return [replace(row, record=record) for row in rows]


def _measured(seed: int, data: Sequence[str], run: Path, threads: int | None) -> RecordRow:
    with tempfile.TemporaryDirectory() as folder:
        features = Path(folder, "features")
        started = time.perf_counter()
        _run(["extract", *data, f"features={features}"], threads)
        extracted = time.perf_counter()
        settings = [f"experiment={EXPERIMENT}", f"seed={seed}", f"data.features={features}", f"output={run}"]
        _run(["train", *settings, *data], threads)
        ended = time.perf_counter()
        cider = read_scores(run)["CIDEr"]
    return RecordRow(seed, cider, cider >= GOAL, extracted - started, ended - extracted, ended - started)


def _run(arguments: Sequence[str], threads: int | None) -> None:
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    command = [sys.executable, "-m", "captioning", *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise InputError(f"captioning {' '.join(arguments)} failed: {shown(ran.stderr, 500)}")
