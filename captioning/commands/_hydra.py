"""Run commands that Hydra configures: check the overrides, then run one job or a sweep."""

from __future__ import annotations

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from captioning.commands import config_folder, guarded
from captioning.commands._resume import check_same_sweep, remaining_runs, resume_command
from captioning.errors import InputError, Stopped
from captioning.training.ranges import check_settings

log = logging.getLogger(__name__)

Task = Callable[[DictConfig, Path], None]

SWEEP = ("-m", "--multirun")
WITHOUT_VALUE = (*SWEEP, "--run", "-r", "--resolve", "--version", "--hydra-help")


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
    folder = config_folder()
    flags, overrides = separate_flags(arguments)
    sweeps = bool(set(SWEEP) & set(flags))
    overrides = [hydra_override(override, sweeps=sweeps) for override in overrides]
    composed = check_overrides(command, overrides)
    if not int(os.environ.get("LOCAL_RANK", "0")):  # other processes start after the run has begun
        if sweeps:
            _check_sweep(composed, overrides)
        elif check is not None:
            check(composed, Path(composed.hydra.run.dir))
    failed: list[int] = []
    command_line = sys.argv

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        output = Path(hydra_config.runtime.output_dir)
        sys.argv = list(command_line)  # Lightning starts its other processes with this command line
        with open_dict(config):
            config.output = str(output)
        if hydra_config.mode != RunMode.MULTIRUN:
            with _advised(command, arguments, output, config):
                _checked(task, config, output)
            return
        sys.argv.append(f"hydra.sweep.dir='{hydra_config.sweep.dir}'")  # other processes would choose a later timestamp
        (output / "error.txt").unlink(missing_ok=True)  # of the run that this one resumes
        try:
            with _advised(command, arguments, Path(hydra_config.sweep.dir).resolve(), config):
                _checked(task, config, output)
        except Stopped as stop:
            stop.advice += f"\n{remaining_runs(overrides, hydra_config.job.num)}"
            raise
        except Exception as error:  # noqa: BLE001 - the sweep's other runs continue after any error
            failed.append(HydraConfig.get().job.num)
            cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
            text = str(cause) if isinstance(cause, InputError) else traceback.format_exc()
            (output / "error.txt").write_text(text, encoding="utf-8")
            log.error("run %s failed: %s", output.name, text)

    sys.argv = [f"captioning {command}", *flags, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing part of a traceback
    main = hydra.main(version_base="1.3", config_path=str(folder), config_name=command)
    try:
        main(_user_errors(command, job))()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(error) from error
    return int(bool(failed))


def separate_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate Hydra's flags and their values from the overrides, because Hydra reads no flags between overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    value_follows = False
    for argument in arguments:
        is_flag = argument.startswith("-")
        (flags if is_flag or value_follows else overrides).append(argument)
        value_follows = is_flag and argument not in WITHOUT_VALUE and "=" not in argument
    return flags, overrides


def hydra_override(override: str, *, sweeps: bool) -> str:
    """Translate GROUP=null to Hydra's ~GROUP, and a sweep's `output` to Hydra's name for it."""
    key, _, value = override.partition("=")
    if value == "null" and key and (config_folder() / key.partition("@")[0]).is_dir():
        return f"~{key}"
    return f"hydra.sweep.dir={value}" if sweeps and key == "output" else override


@contextmanager
def _advised(command: str, arguments: Sequence[str], output: Path, config: DictConfig) -> Iterator[None]:
    """Add to what a signal stops the command that resumes it, if it can be resumed."""
    try:
        yield
    except Stopped as stop:
        if "resume" in config:
            stop.advice += f"; resume with\n  {resume_command(command, arguments, output)}"
        raise


def _checked(task: Task, config: DictConfig, output: Path) -> None:
    check_settings(config)
    task(config, output)


def _check_sweep(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check that the sweep's folder has no earlier runs, which would enter its table, or resumes them."""
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


def _user_errors(command: str, job: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn a user's mistake into SystemExit, because Hydra prints tracebacks of other exceptions."""

    def wrapped(config: DictConfig) -> None:
        def run_job() -> int:
            try:
                job(config)
            except (HydraException, OmegaConfBaseException) as error:
                # Hydra wraps the InputError of a constructor.
                raise (error.__cause__ if isinstance(error.__cause__, InputError) else InputError(error)) from error
            return 0

        if status := guarded(command, run_job):
            raise SystemExit(status)

    return wrapped


def check_overrides(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration, including Hydra's own, to check the overrides. Sweeps use their first choice.

    Raises:
        InputError: an override is invalid. The message lists the known keys.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise InputError(
            f"an override cannot be read: {error}\n(expected KEY=VALUE; a value with a space or any of "
            "= , : ( ) [ ] { } needs two pairs of quotes: \"KEY='VALUE'\")"
        ) from error
    plain = []
    for override in parsed:
        text = override.input_line or ""
        if override.is_sweep_override():
            choices = list(override.sweep_string_iterator())
            if "null" in choices and not _chooses_no_group(text):
                raise InputError(
                    f"{text}: a sweep cannot choose null for a group; name the option (finetuning=frozen, "
                    "schedule=constant), or use a single run"
                )
            text = f"{override.get_key_element()}={choices[0]}"
        plain.append(text)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            composed = _compose(command, plain)
            HydraConfig.instance().set_config(composed)
            empty = _missing(OmegaConf.to_container(composed), "")
            missing = sorted(key for key in empty if not key.startswith("hydra."))
            if missing:
                raise InputError(f"{' and '.join(missing)} must be given, as {missing[0]}=VALUE")
            return composed
    finally:
        GlobalHydra.instance().clear()


def _compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration. On failure, name the first override that is invalid after those before it."""
    try:
        composed: DictConfig = hydra.compose(command, list(overrides), return_hydra_config=True)
        return composed
    except (HydraException, OmegaConfBaseException):
        in_order = sorted(overrides, key=_chooses_no_group)  # Hydra also chooses groups first
        for n, override in enumerate(in_order):
            try:
                hydra.compose(command, in_order[: n + 1])
            except (HydraException, OmegaConfBaseException) as error:
                raise InputError(_explain(command, in_order[:n], override, error)) from error
        raise


def _chooses_no_group(override: str) -> bool:
    group = override.lstrip("+~").split("=")[0].split("@")[0].strip("/")
    return not (config_folder() / group).is_dir()


def _missing(node: Any, key: str) -> Iterator[str]:
    """Yield the keys without a value. Interpolations are not followed."""
    if node == "???":
        yield key
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _missing(value, f"{key}.{name}".lstrip("."))


def _explain(command: str, before: Sequence[str], override: str, error: Exception) -> str:
    """Extend Hydra's message by the known keys and the closest one."""
    message = str(error).splitlines()[0]
    key = override.lstrip("+~").split("=")[0]
    try:
        node = hydra.compose(command, list(before))
    except (HydraException, OmegaConfBaseException):
        return f"{override}: {error}"
    path = key.split(".")
    while len(path) > 1 and OmegaConf.is_dict(OmegaConf.select(node, path[0], throw_on_missing=False)):
        node, path = node[path[0]], path[1:]
    if path[0] in node and len(path) == 1:
        return f"{override}: {error}"
    known = sorted(map(str, node))
    close = difflib.get_close_matches(path[0], known, n=1)
    where = key.removesuffix("." + ".".join(path)) if key != ".".join(path) else "the configuration"
    return (
        f"{override}: {message}\n{where} has: {', '.join(known)}"
        + (f"\ndid you mean {close[0]!r}?" if close else "")
        + "\n(to add a new key, put + before it; to choose a group's option, use group=option)"
    )
