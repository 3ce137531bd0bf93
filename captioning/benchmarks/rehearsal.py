"""Rehearse training at COCO's size: time and memory to the first step, speed and memory of steps, and validation.

Each row is `captioning train` itself, in a process of its own, which ends after some steps and two validations. Only
Linux reports the memory of a process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytorch_lightning as pl

from captioning.benchmarks.coco_size import Generated, Size, generate
from captioning.errors import InputError, shown
from captioning.files.atomic import write_json
from captioning.json_files import read_typed
from captioning.memory import in_use, peak

EXPERIMENTS = {"pooled": "coco/show_and_tell", "grid": "coco/soft_attention"}
STEPS, WARM_UP = 300, 100
_MB, _GB, _MINUTE = 1e6, 1e9, 60


@dataclass(frozen=True)
class RehearsalRow:
    """One measurement. Times are wall-clock times, and a megabyte has 10^6 bytes.

    Attributes:
        experiment: its name in conf/experiment.
        first_step_seconds: from the start of the command to the end of the first step.
        first_step_cpu_seconds: the CPU time of the same.
        first_step_gb: the largest resident memory until then.
        epoch_minutes: an epoch, extrapolated from the median of the steps after the first 100.
        growth_mb: how much memory the process took after the first 100 steps, without files that are mapped.
        validation_seconds: each validation.
    """

    experiment: str
    first_step_seconds: float
    first_step_cpu_seconds: float
    first_step_gb: float
    epoch_minutes: float
    growth_mb: float
    validation_seconds: list[float]


class Measured(msgspec.Struct):
    """What `Measuring` writes.

    Attributes:
        ends: when each step ended, in seconds since the command was started.
        memory: the bytes that the process had to itself after each step.
        first_step_cpu: CPU seconds until the first step ended.
        first_step_peak: the largest resident memory until then, in bytes.
        steps_of_epoch: the number of steps of a whole epoch.
        validations: the seconds of each validation.
    """

    ends: list[float] = []
    memory: list[int] = []
    first_step_cpu: float = 0.0
    first_step_peak: int = 0
    steps_of_epoch: int = 0
    validations: list[float] = []

    def row(self, experiment: str) -> RehearsalRow:
        """Summarise the steps after the first `WARM_UP`."""
        steps = [end - start for start, end in pairwise(self.ends[WARM_UP:])]
        return RehearsalRow(
            experiment,
            self.ends[0],
            self.first_step_cpu,
            self.first_step_peak / _GB,
            statistics.median(steps) * self.steps_of_epoch / _MINUTE,
            (self.memory[-1] - self.memory[WARM_UP]) / _MB,
            self.validations,
        )


class Measuring(pl.Callback):
    """Measures a run, and writes what it has measured before and after each validation.

    Args:
        file: where to write it.
        started: when the command was started, as `time.time()` gives it.
    """

    def __init__(self, file: str, started: float) -> None:
        self.file, self.started, self.found = Path(file), started, Measured()
        self._validation = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Measure time and memory after a step."""
        found = self.found
        if not found.ends:
            found.first_step_cpu, found.first_step_peak = time.process_time(), peak() or 0
            found.steps_of_epoch = len(trainer.train_dataloader or ())
        found.ends.append(time.time() - self.started)
        found.memory.append(in_use() or 0)

    def on_validation_start(self, *_: Any) -> None:
        """Write what was measured so far, and start the clock."""
        self._write()
        self._validation = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        """Stop the clock, and write what was measured so far."""
        self.found.validations.append(time.perf_counter() - self._validation)
        self._write()

    def _write(self) -> None:
        write_json(self.file, msgspec.to_builtins(self.found))


def rehearse(folder: Path | None, threads: int | None, size: Size | None = None) -> list[RehearsalRow]:
    """Generate data of COCO's size, and measure a run of each experiment on them.

    Args:
        folder: where the data are, or are written and stay. None writes them to a temporary folder.
        threads: the number of CPU threads; None for torch's choice.
        size: of the data; COCO's if None.

    Raises:
        InputError: the system is not Linux, the data cannot be written, or a run fails.
    """
    if in_use() is None:
        raise InputError("bench coco reads the memory of a process from /proc/self/status, which only Linux has")
    with tempfile.TemporaryDirectory() as temporary:
        data = generate(folder or Path(temporary, "data"), size)
        return [
            _measured(data[name], experiment, Path(temporary, name), threads).row(experiment)
            for name, experiment in EXPERIMENTS.items()
        ]


def _measured(data: Generated, experiment: str, output: Path, threads: int | None) -> Measured:
    file = output.with_suffix(".json")
    settings: Mapping[str, object] = {
        "experiment": experiment,
        "data.root": data.karpathy.parent,
        "data.features": data.features,
        "encoder": "resnet50",
        "encoder.weights": data.weights,
        "logger": "csv",
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": STEPS,
        "trainer.enable_progress_bar": False,
        "~callbacks.progress": None,
        "+callbacks.measuring._target_": f"{__name__}.{Measuring.__name__}",
        "+callbacks.measuring.file": file,
        "+callbacks.measuring.started": time.time(),
        "output": output,
    }
    overrides = [key if value is None else f"{key}={value}" for key, value in settings.items()]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    command = [sys.executable, "-m", "captioning", "train", *overrides]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode or not file.is_file():
        raise InputError(f"captioning train experiment={experiment} failed: {shown(ran.stderr, 500)}")
    return read_typed(file, Measured)
