"""Complete command lines of `captioning` for a shell: argcomplete talks to the shell, and Hydra completes overrides."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import argcomplete
from argcomplete.lexers import split_line

from captioning.commands import SUMMARIES, config_folder
from captioning.errors import InputError


def complete() -> NoReturn:
    """Write the completions of the command line that argcomplete's shell function has put into the environment."""
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    words = split_line(line, point)[3]  # before the word at the cursor
    if len(words) < 2:
        answer(_commands())
    os.environ["_ARGCOMPLETE"] = "2"  # the command's own words begin at the second word
    command = words[1]
    if (config_folder() / f"{command}.yaml").is_file():
        answer(_configured(command, words[2:]))
    if command in SUMMARIES:
        importlib.import_module(f"captioning.commands.{command}").main([])  # its `parse_arguments` answers
    sys.exit(1)


def answer(parser: argparse.ArgumentParser) -> NoReturn:
    """Write the completions that a parser has, and exit. Options are completed after a dash, and files elsewhere."""
    argcomplete.autocomplete(parser, always_complete_options=False, exit_method=sys.exit)
    sys.exit(1)


def _commands() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="captioning")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name, summary in SUMMARIES.items():
        commands.add_parser(name, help=summary)
    return parser


def _configured(command: str, words: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser of a command that Hydra configures. It completes Hydra's flags and the command's overrides."""
    from hydra._internal.utils import get_args_parser

    parser: argparse.ArgumentParser = get_args_parser()
    for action in parser._actions:
        if action.dest in ("shell_completion", "experimental_rerun"):
            action.help = argparse.SUPPRESS  # the commands refuse them
        if action.dest == "overrides":
            completed: Any = action  # argcomplete looks for this attribute
            completed.completer = lambda prefix, **_: _overrides(command, words, prefix)
    return parser


def _overrides(command: str, words: Sequence[str], prefix: str) -> list[str]:
    """Find the overrides that begin with `prefix`: groups, a group's options, and settings with their values."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from captioning.commands._overrides import group_choices, read_arguments, searching

    try:
        line = read_arguments(command, words)
        with searching(line) as configs:
            group, equals, _ = prefix.partition("=")
            folder = group.lstrip("+").partition("@")[0]
            if equals and configs.group_exists(folder):
                return [f"{group}={choice}" for choice in group_choices(folder, configs)]
            hydra = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
            found = hydra._query(line.config, " ".join([*line.overrides, prefix]))
            # Hydra writes a group of groups as GROUP/; its options are chosen by GROUP=FOLDER/NAME here.
            return [f"{name[:-1]}=" if name.endswith("/") else name for name in found]
    except InputError:
        return []  # another word of the line is wrong, which the command itself reports
