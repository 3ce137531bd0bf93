"""A setting outside its range is refused with its name, its value and the range."""

from __future__ import annotations

import math
import re

import pytest
from omegaconf import DictConfig, OmegaConf

from captioning.errors import InputError
from captioning.training.ranges import RANGES, check_settings


def composed(key: str, value: object) -> DictConfig:
    """A configuration of this one setting."""
    config = OmegaConf.create({})
    OmegaConf.update(config, key, value, force_add=True)
    return config


@pytest.mark.parametrize("key", RANGES)
def test_both_ends_of_a_range_belong_to_it_and_nothing_beyond(key: str) -> None:
    allowed = RANGES[key]
    for allowed_value in (allowed.least, allowed.most if math.isfinite(allowed.most) else allowed.least + 7):
        check_settings(composed(key, int(allowed_value)))
    above = int(allowed.most) + 1 if math.isfinite(allowed.most) else math.inf
    others: list[object] = [True, math.nan, "abc", []]
    others += [] if allowed.null else [None]
    others += [0.5] if allowed.kind is int else []
    for value in [allowed.least - 1, above, *others]:
        with pytest.raises(InputError, match=re.escape(f"{key}=") + ".*: expected a (whole )?number from"):
            check_settings(composed(key, value))
    if allowed.null:
        check_settings(composed(key, None))


@pytest.mark.parametrize("value", ["abc", -0.2, math.nan, math.inf, []])
def test_standardise_is_a_switch_or_a_deviation(value: object) -> None:
    with pytest.raises(InputError, match=r"standardise=.*: expected true, false, or a deviation above 0"):
        check_settings(composed("standardise", value))
    for allowed in (True, False, None, 0.2):
        check_settings(composed("standardise", allowed))


@pytest.mark.parametrize("value", [0, 1, 0.5, "abc"])
def test_validation_scores_every_image(value: object) -> None:
    with pytest.raises(InputError, match=r"every image of data\.split is scored"):
        check_settings(composed("trainer.limit_val_batches", value))
    check_settings(composed("trainer.limit_val_batches", 1.0))
