"""Runs of several phases: each starts from the best model of the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from captioning.errors import InputError

Phase = tuple[DictConfig, Path]
"""The settings of a phase, and its folder."""

_OF_THE_RUN = ("then", "output", "name", "seed", "checkpoint", "resume", "hydra", "text", "source_text")
"""Settings that all phases share."""


def phases(config: DictConfig, output: Path) -> list[Phase]:
    """Split a run into its phases.

    Args:
        config: the settings. `then` holds those of the second phase, as far as they differ: a part with its own
            `_target_` replaces the first phase's, and other settings change single values. Its own `then` holds the
            third phase's, and so on.
        output: the folder of the run.

    Returns:
        The phases in order. The last one's folder is `output`, and the folders phase_1, phase_2, ... in it are those of
        the others.

    Raises:
        InputError: `then` is no mapping of settings, or changes what all phases share; or `checkpoint` is set.
    """
    found: list[DictConfig] = [deepcopy(config)]
    while (changes := found[-1].get("then")) is not None:
        _check(config, changes)
        first, second = found[-1], deepcopy(found[-1])
        for part in (first, second):
            with open_dict(part):
                part.then = None
        found.append(_changed(second, changes))
    return _placed(found, output)


def _check(config: DictConfig, changes: Any) -> None:
    if not isinstance(changes, DictConfig):
        raise InputError(f"then={changes}: expected settings of the next phase, such as then=self_critical, or null")
    shared = [key for key in changes if key in _OF_THE_RUN and key != "then"]
    if shared:
        raise InputError(f"then.{shared[0]}: all phases of a run share this setting; set {shared[0]}= itself")
    if config.get("checkpoint") is not None:
        raise InputError(
            f"checkpoint={config.checkpoint} with then=: a checkpoint is of one phase; resume the run with resume=auto "
            "in its folder, or train the second phase alone with start="
        )


def _changed(config: DictConfig, changes: DictConfig) -> DictConfig:
    with open_dict(config):
        for key, value in changes.items():
            if isinstance(value, DictConfig) and "_target_" not in value and key != "then":
                config[key] = OmegaConf.merge(config[key] or {}, value)
            else:
                config[key] = value
    return config


def _placed(configs: Sequence[DictConfig], output: Path) -> list[Phase]:
    """Give each phase its folder, and let each start from the one before it."""
    folders = [*(output / f"phase_{number}" for number in range(1, len(configs))), output]
    for number, (config, folder) in enumerate(zip(configs, folders, strict=True)):
        with open_dict(config):
            config.output = str(folder)
            if number:
                config.start = str(folders[number - 1])
    return list(zip(configs, folders, strict=True))
