"""The arguments of a command that Hydra configures: its flags, and overrides that are checked before the run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from captioning.commands import config_folder
from captioning.commands._plugins import how_to_install
from captioning.errors import InputError

VERSION_BASE = "1.3"
SEARCHING = ("train", "evaluate", "nbest")
"""The commands that have a group `search`."""
PROCESSORS = {
    "no_repeat_ngram": "captioning.search.NoRepeatNgrams, size: 3",
    "repetition_penalty": "captioning.search.RepetitionPenalty, penalty: 1.2",
}
"""What a training's search has instead of these options."""
ERRORS = (HydraException, OmegaConfBaseException, ValueError)
"""What composing a configuration raises; ValueError if a group's option is a number, for example."""


@dataclass(frozen=True)
class CommandLine:
    """The arguments of a command, as Hydra reads them.

    Attributes:
        command: the command's name.
        config: name of the primary configuration.
        path: the folder that holds it, or a package (pkg://).
        folder: a folder that is searched after `path`; None for none.
        flags: Hydra's flags, each with its value.
        overrides: in Hydra's own syntax, in the order in which they were given.
        sweeps: whether every combination of choices is run.
        runs: whether anything is run; else the configuration or information about it is printed.
    """

    command: str
    config: str
    path: str
    folder: str | None = None
    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    sweeps: bool = False
    runs: bool = True


def read_arguments(command: str, arguments: Sequence[str]) -> CommandLine:
    """Separate Hydra's flags from the overrides. Flags may stand anywhere.

    Raises:
        InputError: Hydra has no such flag, a flag's value is missing or wrong, or an override cannot be read.
    """
    parser = get_args_parser()
    parser.allow_abbrev = False  # --experiment is not --experimental-rerun

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message} (see captioning {command} --help, and --hydra-help for Hydra's own options)")

    parser.error = refuse
    options, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        refuse(_no_option(unknown[0], list(arguments), known, searches=command in SEARCHING))
    if options.experimental_rerun is not None:
        refuse("--experimental-rerun reads a pickle, which can run code; use -cd RUN/.hydra -cn config instead")
    if options.shell_completion:
        refuse("--shell-completion: Hydra completes only commands without subcommands")
    if sum(map(bool, (options.run, options.multirun, options.cfg, options.info))) > 1:
        refuse("--run, --multirun, --cfg and --info exclude each other; give one of them")
    if options.resolve and not options.cfg:
        refuse("--resolve has an effect only with --cfg")
    path = options.config_path or str(config_folder())
    if "://" not in path:
        path = str(Path(path).absolute())  # Hydra's own reading is relative to this file
        if not Path(path).is_dir():
            refuse(f"--config-path {path}: there is no such folder")
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        refuse(f"--config-dir {options.config_dir}: there is no such folder")
    line = CommandLine(
        command,
        config=options.config_name or command,
        path=path,
        folder=None if options.config_dir is None else str(Path(options.config_dir).absolute()),
        flags=[
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in vars(options).items()
            if value and not isinstance(value, list) and name != "config_path"
        ],
        overrides=[] if options.hydra_help else list(options.overrides),
        sweeps=options.multirun,
        runs=not (options.cfg or options.info or options.hydra_help),
    )
    return _in_hydra_s_words(line)


def _no_option(option: str, arguments: Sequence[str], known: Sequence[str], *, searches: bool) -> str:
    if searches:
        from captioning.search.names import as_setting, called
        from captioning.search.options import OPTIONS

        if (answer := called(option.partition("=")[0], OPTIONS, as_setting)) is not None:
            return answer
    if close := difflib.get_close_matches(option, known, n=1, cutoff=0.8):
        return f"there is no option {option[:80]}; did you mean {close[0]}?"
    name, _, value = option.lstrip("-").partition("=")
    after = arguments[arguments.index(option) + 1 :][:1] if option in arguments else []
    value = value or (after[0] if after and not re.match(r"-|.*=", after[0]) else "VALUE")
    return f"there is no option {option[:80]}; a setting is given without dashes, as {name[:60]}={value[:60]}"


def _in_hydra_s_words(line: CommandLine) -> CommandLine:
    """Translate GROUP=null to Hydra's ~GROUP, and a sweep's `output` to Hydra's name for it."""
    modes = [parsed.value() for parsed in parse(line.overrides) if parsed.get_key_element() == "hydra.mode"]
    sweeps = line.sweeps or any(str(mode).upper() == "MULTIRUN" for mode in modes)
    with searching(line) as configs:
        overrides = [_hydra_override(override, configs, sweeps=sweeps) for override in line.overrides]
    return CommandLine(**{**vars(line), "overrides": overrides, "sweeps": sweeps})


def _hydra_override(override: str, configs: ConfigRepository, *, sweeps: bool) -> str:
    key, _, value = override.partition("=")
    if not key.strip("+~ "):
        raise InputError(f"{override[:80]!r} has no key; expected KEY=VALUE")
    if value == "null" and key and configs.group_exists(key.partition("@")[0]):
        return f"~{key}"
    if re.match(r"\+trainer\.\w", key):  # earlier versions needed a + for most of Lightning's arguments
        return f"+{override}"
    return f"hydra.sweep.dir={value}" if sweeps and key == "output" else override


def parse(overrides: Sequence[str], configs: Any = None) -> list[Override]:
    """Parse overrides as Hydra does.

    Args:
        overrides: the overrides.
        configs: Hydra's loader of configurations, which resolves glob().

    Raises:
        InputError: an override cannot be read.
    """
    try:
        parsed: list[Override] = OverridesParser.create(config_loader=configs).parse_overrides(list(overrides))
        return parsed
    except HydraException as error:
        raise InputError(
            f"an override cannot be read: {error}\n(expected KEY=VALUE; a value with a space or any of "
            "= , : ( ) [ ] { } needs two pairs of quotes: \"KEY='VALUE'\")"
        ) from error


@contextmanager
def searching(line: CommandLine) -> Iterator[ConfigRepository]:
    """Initialise Hydra's composition on the search path of the run, and yield the configurations found on it."""
    setbase(VERSION_BASE)
    path = create_config_search_path(line.path)
    if line.folder is not None:  # as `hydra.main` does
        path.prepend(provider="command-line", path=f"file://{line.folder}", anchor=SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        loader: Any = Hydra.create_main_hydra2(task_name=line.command, config_search_path=path).config_loader
        search = [parsed.input_line or "" for parsed in parse(line.overrides) if _is_search_path(parsed)]
        # hydra.searchpath, of the command line or of the primary configuration, adds folders.
        yield loader._parse_overrides_and_create_caching_repo(line.config, search)[1]
    except ERRORS as error:
        raise error if isinstance(error, InputError) else InputError(error) from error
    finally:
        GlobalHydra.instance().clear()


def _is_search_path(override: Override) -> bool:
    return str(override.get_key_element()).lstrip("+") == "hydra.searchpath"


def check_overrides(line: CommandLine) -> DictConfig:
    """Compose the configuration, including Hydra's own, to check the overrides. Sweeps use their first choice.

    Raises:
        InputError: an override is invalid. The message lists the known keys. Or a value is missing, in a command that
            runs.
    """
    with searching(line) as configs:
        loader = GlobalHydra.instance().config_loader()
        plain = [_first_choice(override, configs) for override in parse(line.overrides, loader)]
        composed = _compose(line.config, plain, configs)
        HydraConfig.instance().set_config(composed)
        empty = _missing(OmegaConf.to_container(composed), "")
        missing = sorted(key for key in empty if not key.startswith("hydra."))
        if missing and line.runs:
            raise InputError(f"{' and '.join(missing)} must be given, as {missing[0]}=VALUE")
        return composed


def _first_choice(override: Override, configs: ConfigRepository) -> str:
    """Return an override of a single run: itself, or the first choice of a sweep."""
    text = override.input_line or ""
    if not override.is_sweep_override():
        return text
    if override.is_interval_sweep():
        interval: Any = override.value()
        return f"{override.get_key_element()}={interval.start}"
    choices = list(override.sweep_string_iterator())
    if not choices:
        raise InputError(f"{text}: no choice matches")
    if "null" in choices and _chooses_group(text, configs):
        raise InputError(
            f"{text}: a sweep cannot choose null for a group; name the option (finetuning=frozen, "
            "schedule=constant), or use a single run"
        )
    return f"{override.get_key_element()}={choices[0]}"


def _compose(config: str, overrides: Sequence[str], configs: ConfigRepository) -> DictConfig:
    """Compose the configuration. On failure, name the first override that is invalid after those before it."""
    try:
        composed: DictConfig = hydra.compose(config, list(overrides), return_hydra_config=True)
        return composed
    except ERRORS as whole:
        # Hydra finds configurations first, then it chooses groups.
        paths = [text for text in overrides if "hydra.searchpath=" in text]
        others = sorted((text for text in overrides if text not in paths), key=lambda t: not _chooses_group(t, configs))
        alone = _fails(config, paths)
        for n, override in enumerate(others) if str(alone) != str(whole) else ():
            error = _fails(config, [*paths, *others[: n + 1]])
            if error is not None:
                raise InputError(_explain(config, [*paths, *others[:n]], override, error, configs)) from error
        raise InputError(_no_choice(whole, configs) or whole) from whole


def _fails(config: str, overrides: Sequence[str]) -> Exception | None:
    """Return the error that composing raises, or None."""
    try:
        hydra.compose(config, list(overrides))
    except ERRORS as error:
        return error
    return None


def _chooses_group(override: str, configs: ConfigRepository) -> bool:
    group = override.lstrip("+~").split("=")[0].split("@")[0].strip("/")
    return bool(group) and configs.group_exists(group)


def _missing(node: Any, key: str) -> Iterator[str]:
    """Yield the keys without a value. Interpolations are not followed."""
    if node == "???":
        yield key
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _missing(value, f"{key}.{name}".lstrip("."))


def _explain(config: str, before: Sequence[str], override: str, error: Exception, configs: ConfigRepository) -> str:
    """Extend Hydra's message by the known keys or choices, and the closest one."""
    if (no_choice := _no_choice(error, configs)) is not None:
        return f"{override}: {no_choice}"
    message = str(error).splitlines()[0]
    key = override.lstrip("+~").split("=")[0]
    try:
        node = hydra.compose(config, list(before), return_hydra_config=key.startswith("hydra."))
    except ERRORS:
        return f"{override}: {error}"
    path = key.split(".")
    if len(path) > 1 and path[0] not in node and configs.group_exists(path[0]):
        return (
            f"{override}: no option of the group {path[0]} is chosen, so it has no settings; choose one with "
            f"{path[0]}=NAME (a model that is fine-tuned, model=WHERE, has its own)"
        )
    while len(path) > 1 and OmegaConf.is_dict(OmegaConf.select(node, path[0], throw_on_missing=False)):
        node, path = node[path[0]], path[1:]
    if path[0] in node and len(path) == 1:
        return f"{override}: {error}"
    known = sorted(map(str, node))
    if (answer := _of_search(key, before, config)) is not None:
        return f"{override}: {answer}"
    where = key.removesuffix("." + ".".join(path)) if key != ".".join(path) else "the configuration"
    return (
        f"{override}: {message}\n{where} has: {', '.join(known)}{did_you_mean(path[0], known)}"
        "\n(to add a new key, put + before it; to choose a group's option, use group=option)"
    )


def _of_search(key: str, before: Sequence[str], config: str) -> str | None:
    """Say what a setting of another library's search is called here, or what a run has instead of an option.

    Returns:
        None for any other key.
    """
    if config not in SEARCHING:
        return None
    from captioning.search.names import as_setting, ours
    from captioning.search.options import OPTIONS

    known = hydra.compose(config, list(before)).get("search") or {}
    name = key.removeprefix("search.")
    if name in OPTIONS and key != name:
        processor = PROCESSORS.get(name)
        instead = f'; here, a search has "+search.processors=[{{_target_: {processor}}}]"' if processor else ""
        return f"{key} is an option of evaluate, nbest and caption, or of another search{instead}"
    found = ours(name, [str(name) for name in known])
    return None if found is None else f"{key} is called {as_setting(found)} here"


def _no_choice(error: Exception, configs: ConfigRepository) -> str | None:
    """Explain that a group has no such option; None for another error."""
    if not isinstance(error, MissingConfigException) or not error.missing_cfg_file:
        return None
    missing = str(error.missing_cfg_file)
    group = missing.rpartition("/")[0]
    while group and not configs.group_exists(group):
        group = group.rpartition("/")[0]
    if not group:
        return None
    choices = list(group_choices(group, configs))
    name = missing.removeprefix(f"{group}/")
    listed = f"choose among {', '.join(choices)}{how_to_install(group, name)}"
    return f"{group} has no option {name[:80]!r}; {listed}{did_you_mean(name, choices)}"


def group_choices(group: str, configs: ConfigRepository, prefix: str = "") -> Iterator[str]:
    """Yield a group's options and those of its subgroups. Names that start with _ are shared parts."""
    for name in configs.get_group_options(group, ObjectType.CONFIG):
        if not name.startswith("_"):
            yield f"{prefix}{name}"
    for name in configs.get_group_options(group, ObjectType.GROUP):
        if not name.startswith("_"):
            yield from group_choices(f"{group}/{name}", configs, f"{prefix}{name}/")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a line that asks for the known name closest to `name`, also by its last part; "" if none is close."""
    lasts = {full.rpartition("/")[2]: full for full in reversed(known)}
    close = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name, list(lasts), n=1)
    return f"\ndid you mean {lasts.get(close[0], close[0])!r}?" if close else ""
