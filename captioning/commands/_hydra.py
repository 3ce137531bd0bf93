"""Commands that Hydra configures: find conf/, check overrides with helpful words, run one job or a sweep."""

from __future__ import annotations

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
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
from captioning.errors import InputError
from captioning.training.ranges import check_settings

log = logging.getLogger(__name__)

Task = Callable[[DictConfig, Path], None]

SWEEP = ("-m", "--multirun")
WITHOUT_VALUE = (*SWEEP, "--run", "-r", "--resolve", "--version", "--hydra-help")


def run(command: str, task: Task, arguments: Sequence[str], *, check: Task | None = None) -> int:
    """Run `task(config, output folder)` with Hydra's overrides and flags in `arguments`.

    In a sweep (`-m`) `output` is the folder of its runs' folders; a run that fails is reported and the others go on;
    the exit status is then 1.

    Args:
        command: its configuration's name.
        task: what is run.
        arguments: flags and overrides in any order.
        check: of a run that is no sweep; it raises InputError before anything is written.
    """
    folder = config_folder()
    flags, overrides = parted(arguments)
    sweeps = bool(set(SWEEP) & set(flags))
    overrides = [in_hydra_s_words(override, sweeps=sweeps) for override in overrides]
    composed = check_overrides(command, overrides)
    if not int(os.environ.get("LOCAL_RANK", "0")):  # the other processes of a run come when it has begun
        if sweeps:
            _check_sweep(composed)
        elif check is not None:
            check(composed, Path(composed.hydra.run.dir))
    failed: list[int] = []
    command_line = sys.argv

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        output = Path(hydra_config.runtime.output_dir)
        sys.argv = list(command_line)  # Lightning starts its other processes with it
        with open_dict(config):
            config.output = str(output)
        if hydra_config.mode != RunMode.MULTIRUN:
            _checked(task, config, output)
            return
        sys.argv.append(f"hydra.sweep.dir='{hydra_config.sweep.dir}'")  # not as late as they would name it
        try:
            _checked(task, config, output)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep's other runs go on
            failed.append(HydraConfig.get().job.num)
            cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
            text = str(cause) if isinstance(cause, InputError) else traceback.format_exc()
            (output / "error.txt").write_text(text, encoding="utf-8")
            log.error("run %s failed: %s", output.name, text)

    sys.argv = [f"captioning {command}", *flags, *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us; Hydra's own report is half a traceback
    main = hydra.main(version_base="1.3", config_path=str(folder), config_name=command)
    try:
        main(_user_errors(command, job))()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(error) from error
    return int(bool(failed))


def parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides: it reads no flag that stands between overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    value_follows = False
    for argument in arguments:
        is_flag = argument.startswith("-")
        (flags if is_flag or value_follows else overrides).append(argument)
        value_follows = is_flag and argument not in WITHOUT_VALUE and "=" not in argument
    return flags, overrides


def in_hydra_s_words(override: str, *, sweeps: bool) -> str:
    """GROUP=null as Hydra wants it, and in a sweep `output` as what it calls the folder of the runs' folders."""
    key, _, value = override.partition("=")
    if value == "null" and key and (config_folder() / key.partition("@")[0]).is_dir():
        return f"~{key}"
    return f"hydra.sweep.dir={value}" if sweeps and key == "output" else override


def _checked(task: Task, config: DictConfig, output: Path) -> None:
    check_settings(config)
    task(config, output)


def _check_sweep(config: DictConfig) -> None:
    """A sweep's table must not find the runs of another."""
    folder = Path(config.hydra.sweep.dir)
    if any(folder.glob("*/.hydra")):
        raise InputError(
            f"{folder} holds a sweep's runs; choose another folder for this one, as output=DIR (a run of it goes on by "
            f"itself, as output={folder}/0 checkpoint={folder}/0/checkpoints/last.ckpt)"
        )


def _user_errors(command: str, job: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Let Hydra, which prints tracebacks, see a user's mistake as an exit."""

    def wrapped(config: DictConfig) -> None:
        def run_job() -> int:
            try:
                job(config)
            except (HydraException, OmegaConfBaseException) as error:
                # What a part's constructor found wrong comes wrapped in Hydra's words.
                raise (error.__cause__ if isinstance(error.__cause__, InputError) else InputError(error)) from error
            return 0

        if status := guarded(command, run_job):
            raise SystemExit(status)

    return wrapped


def check_overrides(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration, Hydra's own too, once before Hydra does; a sweep's choices stand in by their first.

    Raises:
        InputError: an override does not fit; the message lists what is there.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise InputError(
            f"an override cannot be read: {error}\n(expected KEY=VALUE; a value with any of = , : ( ) [ ] {{ }} or a "
            "blank in it stands in quotes inside the shell's: \"KEY='VALUE'\")"
        ) from error
    plain = []
    for override in parsed:
        text = override.input_line or ""
        if override.is_sweep_override():
            choices = list(override.sweep_string_iterator())
            if "null" in choices and not _chooses_no_group(text):
                raise InputError(
                    f"{text}: null is no choice that a sweep can make of a group; name it (finetuning=frozen, "
                    "schedule=constant), or run it by itself"
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
    """Compose the configuration, or name the first override that does not fit those before it."""
    try:
        composed: DictConfig = hydra.compose(command, list(overrides), return_hydra_config=True)
        return composed
    except (HydraException, OmegaConfBaseException):
        in_order = sorted(overrides, key=_chooses_no_group)  # Hydra too makes the choices first
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
    """Keys without a value; interpolations are not followed."""
    if node == "???":
        yield key
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _missing(value, f"{key}.{name}".lstrip("."))


def _explain(command: str, before: Sequence[str], override: str, error: Exception) -> str:
    """Hydra's words, and the keys that are there."""
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
        + "\n(a new key is added with a + before it; groups are chosen as group=option)"
    )
