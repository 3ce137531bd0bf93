"""Run commands that Hydra configures: check the overrides, then run one job or a sweep."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from captioning.commands import guarded
from captioning.commands._overrides import VERSION_BASE, check_overrides, read_arguments
from captioning.commands._plugins import check_sweeper, missing_package
from captioning.commands._resume import check_same_sweep, remaining_runs, resume_command
from captioning.errors import InputError, Stopped, described
from captioning.files.atomic import write_text
from captioning.processes import is_first_process, num_started_together
from captioning.training.parts import explained
from captioning.training.ranges import check_settings

log = logging.getLogger(__name__)

Task = Callable[[DictConfig, Path], float | None]
"""Runs a command; a sweeper that searches for good settings reads what it returns."""


def run(command: str, task: Task, arguments: Sequence[str], *, check: Task | None = None) -> int:
    """Run `task(config, output folder)` with Hydra's flags and overrides, and return the exit status.

    In a sweep (`-m`), `output` is the folder that contains the runs' folders. If a run fails, its error is logged, the
    other runs continue, and the exit status is 1.

    Args:
        command: the name of its configuration.
        task: the function to run.
        arguments: flags and overrides in any order.
        check: called for a single run, not for a sweep, to raise InputError before anything is written.
    """
    line = read_arguments(command, arguments)
    composed = check_overrides(line)
    if line.runs:
        _check_folder(composed, sweeps=line.sweeps)
    if line.runs and line.sweeps:
        check_sweeper(composed, line.overrides)
    if line.runs and is_first_process():  # other processes start after the run has begun
        if line.sweeps:
            _check_sweep(composed, line.overrides)
        elif check is not None:
            check(composed, Path(composed.hydra.run.dir))
    failures = tempfile.mkdtemp()  # a launcher may run jobs in other processes
    command_line = sys.argv

    def job(config: DictConfig) -> float | None:
        hydra_config = HydraConfig.get()
        output = Path(hydra_config.runtime.output_dir)
        sys.argv = list(command_line)  # Lightning starts its other processes with this command line
        with open_dict(config):
            config.output = str(output)
        if hydra_config.mode != RunMode.MULTIRUN:
            with _advised(command, arguments, output, config):
                return _checked(task, config, output)
        sys.argv.append(f"hydra.sweep.dir='{hydra_config.sweep.dir}'")  # other processes would choose a later timestamp
        (output / "error.txt").unlink(missing_ok=True)  # of the run that this one resumes
        searched = hydra_config.runtime.choices["hydra/sweeper"] != "basic"  # such a sweep has no fixed list of runs
        sweep = Path(hydra_config.sweep.dir).resolve()
        try:
            with nullcontext() if searched else _advised(command, arguments, sweep, config):
                return _checked(task, config, output)
        except Stopped as stop:
            left = [] if searched else [remaining_runs(line.overrides, hydra_config.job.num)]
            stop.advice = "\n".join([stop.advice, *left])
            raise
        except Exception as error:  # noqa: BLE001 - the sweep's other runs continue after any error
            write_text(Path(failures, str(hydra_config.job.num)), "")
            cause = explained(error) if isinstance(error, (HydraException, OmegaConfBaseException)) else error
            text = str(cause) if isinstance(cause, InputError) else traceback.format_exc()
            write_text(output / "error.txt", text)
            log.error("run %s failed: %s", output.name, text)
            return None

    sys.argv = [f"captioning {command}", *line.flags, *line.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing part of a traceback
    main = hydra.main(version_base=VERSION_BASE, config_path=line.path, config_name=line.config)
    try:
        main(_user_errors(command, job))()
        return int(any(Path(failures).iterdir()))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(missing_package(error) or error) from error
    except Exception as error:
        if not line.sweeps:  # a run's own error; in a sweep, those of runs are caught above
            raise
        raise InputError(f"the sweep ended: {missing_package(error) or described(error)}") from error
    finally:
        shutil.rmtree(failures, ignore_errors=True)


@contextmanager
def _advised(command: str, arguments: Sequence[str], output: Path, config: DictConfig) -> Iterator[None]:
    """If a signal stops a run that can be resumed, add the command that resumes it to the message."""
    try:
        yield
    except Stopped as stop:
        if "resume" in config:
            stop.advice += f"; resume with\n  {resume_command(command, arguments, output)}"
        raise


def _checked(task: Task, config: DictConfig, output: Path) -> float | None:
    check_settings(config)
    score = task(config, output)
    return None if score is None or math.isnan(score) else score  # a sweeper takes None for a run without a score


def _check_folder(config: DictConfig, *, sweeps: bool) -> None:
    """Check that all processes that torchrun or SLURM has started write into the same folder.

    Raises:
        InputError: each would name the folder after the time at which it has started.
    """
    hydra_config: Any = OmegaConf.to_container(config.hydra, resolve=False)
    folder = hydra_config["sweep" if sweeps else "run"]["dir"]
    if folder == "${output}":
        folder = OmegaConf.to_container(config, resolve=False)["output"]  # type: ignore[index, call-overload]
    if num_started_together() > 1 and "${now:" in folder:
        raise InputError(
            f"output=DIR must be given: torchrun or SLURM counts {num_started_together()} processes, and each would "
            "name the folder after its own time"
        )


def _check_sweep(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check that the sweep's folder holds no runs, which would enter its table, unless the sweep resumes them.

    Raises:
        InputError: it holds runs that this sweep does not resume.
    """
    folder = Path(config.hydra.sweep.dir)
    if not any(folder.glob("*/.hydra")):
        return
    if "resume" in config:
        from captioning.training.resuming import resumes_by_itself  # imports torch

        if resumes_by_itself(config):
            check_same_sweep(folder, overrides)
            return
    raise InputError(
        f"{folder} already holds a sweep's runs; choose another folder with output=DIR, or finish the sweep with "
        "resume=auto"
    )


def _user_errors(command: str, job: Callable[[DictConfig], float | None]) -> Callable[[DictConfig], float | None]:
    """Turn a user's mistake into SystemExit, because Hydra prints tracebacks of other exceptions."""

    def wrapped(config: DictConfig) -> float | None:
        found: list[float | None] = []

        def run_job() -> int:
            try:
                found.append(job(config))
            except (HydraException, OmegaConfBaseException) as error:
                raise explained(error) from error
            return 0

        if status := guarded(command, run_job):
            raise SystemExit(status)
        return found[0]

    return wrapped
