"""The commands that resume what a signal has stopped."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from captioning.errors import InputError

_REPLACED = {"output", "resume", "hydra.run.dir", "hydra.sweep.dir"}
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


def sweep_runs(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of each run of a sweep, in the order in which Hydra's own sweeper starts them."""
    choices = [
        [f"{parsed.get_key_element()}={choice}" for choice in parsed.sweep_string_iterator()]
        if parsed.is_sweep_override()
        else [str(parsed.input_line)]
        for parsed in OverridesParser.create().parse_overrides(list(overrides))
        if parsed.key_or_group not in _REPLACED
    ]
    return [shlex.join(chosen) for chosen in itertools.product(*choices)]


def remaining_runs(overrides: Sequence[str], number: int) -> str:
    """Describe the runs of a sweep that have not started, for the message after run `number` was stopped."""
    left = list(enumerate(sweep_runs(overrides)))[number + 1 :]
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
        before = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["overrides"]["task"]
        same = sorted(_own(before)) == sorted(_own(overrides))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read, so that the sweep cannot be resumed; choose another folder"
        ) from error
    if not same:
        raise InputError(
            f"{folder} holds a sweep with other settings ({' '.join(_own(before))[:120]}); resume it with these, or "
            "choose another folder"
        )


def _own(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if _key(override) not in _REPLACED]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")
