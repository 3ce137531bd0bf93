"""The commands that resume what a signal has stopped."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString

from captioning.commands._overrides import parse
from captioning.errors import InputError
from captioning.files.yaml_files import read_yaml

_REPLACED = {"output", "resume", "hydra.run.dir", "hydra.sweep.dir"}


class _Overrides(msgspec.Struct):
    task: list[str]


class _Hydra(msgspec.Struct):
    overrides: _Overrides


class _Multirun(msgspec.Struct):
    """What is read of the multirun.yaml that Hydra writes."""

    hydra: _Hydra


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+")


def hydra_value(text: str) -> str:
    """Quote a text so that Hydra reads it as it is, as a path with spaces, brackets or quotes."""
    escaped = text.replace("${", "\\${")
    return escaped if escaped and set(escaped) <= _PLAIN else QuotedString(escaped, Quote.single).with_quotes()


def resume_command(command: str, arguments: Sequence[str], output: Path) -> str:
    """Return the command line that resumes a run, or a sweep, in its folder.

    Args:
        command: its name, "train".
        arguments: with which the command was started.
        output: the folder.
    """
    kept = [argument for argument in arguments if _key(argument) not in _REPLACED]
    return shlex.join(["captioning", command, *kept, f"output={hydra_value(str(output))}", "resume=auto"])


def sweep_runs(overrides: Sequence[str]) -> list[str] | None:
    """Return the overrides of each run of a sweep, in the order in which Hydra's own sweeper starts them.

    Returns:
        None if a setting is an interval: a sweeper that searches for good settings chooses its values.
    """
    hydra = GlobalHydra.instance()
    parsed = parse(overrides, hydra.config_loader() if hydra.is_initialized() else None)
    if any(override.is_interval_sweep() for override in parsed):
        return None
    choices = [
        [f"{override.get_key_element()}={choice}" for choice in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parsed
        if override.key_or_group not in _REPLACED
    ]
    return [shlex.join(chosen) for chosen in itertools.product(*choices)]


def remaining_runs(overrides: Sequence[str], number: int) -> str:
    """Describe the runs of a sweep that have not started, for the message after run `number` was stopped."""
    runs = sweep_runs(overrides)
    if runs is None:
        return f"run {number} was stopped, and the sweep with it"
    left = list(enumerate(runs))[number + 1 :]
    if not left:
        return f"run {number} was the last one of the sweep"
    return "\n".join([f"run {number} was stopped, and these remain:", *(f"  {n}: {text}" for n, text in left)])


def check_same_sweep(folder: Path, overrides: Sequence[str]) -> None:
    """Check that a sweep's folder holds runs of these overrides.

    Raises:
        InputError: it was started with other overrides, or its multirun.yaml cannot be read.
    """
    path = folder / "multirun.yaml"
    try:
        before = read_yaml(path, _Multirun).hydra.overrides.task
    except InputError as error:
        raise InputError(f"the sweep cannot be resumed; choose another folder ({error})") from error
    if sorted(_own(before)) != sorted(_own(overrides)):
        raise InputError(
            f"{folder} holds a sweep with other settings ({' '.join(_own(before))[:120]}); resume it with these, or "
            "choose another folder"
        )


def _own(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that say what a sweep trains. Those of Hydra's own, such as its launcher, do not."""
    keys = ((text, _key(text)) for text in overrides)
    return [text for text, key in keys if key not in _REPLACED and not key.startswith(("hydra.", "hydra/"))]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")
