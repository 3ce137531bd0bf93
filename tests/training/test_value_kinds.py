"""A value of another kind than its class takes is refused with its setting, before any work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from captioning.commands import config_folder
from captioning.errors import InputError
from captioning.training.value_kinds import check_kinds


@dataclass
class Part:
    """Takes one value of each kind, and others."""

    share: float = 0.0
    count: int = 0
    least: int | None = None
    switch: bool = False
    text: str = ""
    other: Path | str | None = None
    inner: Any = None


def config_of(**values: object) -> DictConfig:
    return OmegaConf.create({"a": {"b": {"_target_": f"{__name__}.Part", **values}}})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share", "abc", "a number"),
        ("share", True, "a number"),
        ("share", None, "a number"),
        ("share", {"x": 1}, "a number"),
        ("count", 3.5, "a whole number"),
        ("count", [1], "a whole number"),
        ("least", "x", "a whole number or null"),
        ("switch", 1, "true or false"),
        ("text", 2017, "text; for text, write a.b.text=\"'2017'\""),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"a.b.{name}=") + ".*: expected " + re.escape(expected) + "$"):
        check_kinds(config_of(**{name: value}))


@pytest.mark.parametrize(
    "values",
    [
        {"share": 1, "count": -1, "least": None, "switch": True, "text": "2017"},
        {"share": 0.5, "least": 3, "other": 2017},
        {"share": "???", "count": "${a.b.least}", "least": 2},
        {"inner": 3, "unknown": "x"},
    ],
)
def test_other_values_are_left_to_the_class(values: dict[str, object]) -> None:
    check_kinds(config_of(**values))


def test_parts_in_parts_and_in_lists_are_checked() -> None:
    wrong = {"_target_": f"{__name__}.Part", "count": "x"}
    for inner, place in ((wrong, "inner"), ([{}, wrong], "inner[1]")):
        with pytest.raises(InputError, match=re.escape(f"a.b.{place}.count=x: expected a whole number")):
            check_kinds(config_of(inner=inner))


@pytest.mark.parametrize("group", ["callbacks", "decoder", "objective", "schedule", "search", "trainer", "optimizer"])
def test_every_option_of_a_group_passes(group: str) -> None:
    folder = config_folder()
    for option in sorted(path.stem for path in (folder / group).glob("[!_]*.yaml")):
        with initialize_config_dir(str(folder), version_base=None):
            config = compose("train", overrides=[f"{group}={option}", "data=scenes", "encoder=small_cnn"])
        check_kinds(config[group])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["decoder=show_and_tell", "decoder.dropout=abc"], "decoder.dropout=abc: expected a number"),
        (["callbacks.early_stopping.patience=x"], "callbacks.early_stopping.patience=x: expected a whole number"),
        (["callbacks=moving_average", "callbacks.moving_average.decay=x"], "decay=x: expected a number"),
        (["objective=caption_and_objects", "objective.words=x"], "objective.words=x: expected a number"),
        (["recurrent@decoder.recurrent=lstm", "decoder.recurrent.num_layers=1.5"], "num_layers=1.5: expected a whole"),
    ],
)
def test_settings_of_the_package_and_of_lightning_are_checked(overrides: list[str], message: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base=None):
        config = compose("train", overrides=["data=scenes", "encoder=small_cnn", *overrides])
    with pytest.raises(InputError, match=re.escape(message)):
        check_kinds(config)
