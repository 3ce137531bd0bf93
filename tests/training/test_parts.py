"""Parts of a configuration: those that contain other parts, in lists too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from captioning.encoders import SeveralEncoders, SmallCNN
from captioning.encoders.encoder import Encoder
from captioning.errors import InputError
from captioning.search import BeamSearch, Gnmt, MinimumBayesRisk, NoRepeatNgrams, RepetitionPenalty, Sampling
from captioning.search.hypotheses import Search
from captioning.training.parts import build

PROCESSORS = [
    {"_target_": "captioning.search.NoRepeatNgrams", "size": 3},
    {"_target_": "captioning.search.RepetitionPenalty", "penalty": 1.5},
]
BUILT = (NoRepeatNgrams(3), RepetitionPenalty(1.5))


@dataclass(frozen=True)
class Own:
    """A part of a user's own, which holds whatever it is given."""

    values: Any


def config(target: str, **arguments: Any) -> DictConfig:
    return OmegaConf.create({"_target_": target, **arguments})


def test_a_search_gets_the_processors_of_a_list() -> None:
    rule = {"_target_": "captioning.search.Gnmt", "alpha": 0.6}
    found = build(config("captioning.search.BeamSearch", processors=PROCESSORS, length_normalization=rule), Search)
    assert found == BeamSearch(processors=BUILT, length_normalization=Gnmt(0.6))


def test_a_search_within_a_search_gets_the_processors_of_a_list() -> None:
    inner = {"_target_": "captioning.search.Sampling", "processors": PROCESSORS}
    found = build(config("captioning.search.MinimumBayesRisk", search=inner), Search)
    assert found == MinimumBayesRisk(search=Sampling(processors=BUILT))


def test_an_encoder_gets_the_encoders_of_a_list() -> None:
    cnn = {"_target_": "captioning.encoders.SmallCNN", "size": [16, 16], "channels": [8, 8]}
    found = build(config("captioning.encoders.SeveralEncoders", encoders=[cnn, cnn]), Encoder)
    assert isinstance(found, SeveralEncoders)
    assert [type(encoder) for encoder in found.encoders] == [SmallCNN, SmallCNN]


def test_parts_in_lists_and_mappings_at_any_depth_are_built_and_the_rest_are_plain_values() -> None:
    target = f"{__name__}.Own"
    leaf = {"_target_": target, "values": [1, {"a": 2}]}
    found = build(config(target, values={"one": [leaf], "two": {"three": leaf}, "four": "${.five}", "five": 5}), Own)
    own = Own([1, {"a": 2}])
    assert found == Own({"one": [own], "two": {"three": own}, "four": 5, "five": 5})
    assert [type(found.values), type(found.values["one"]), type(found.values["one"][0].values)] == [dict, list, list]


@pytest.mark.parametrize("value", [3, "NoRepeatNgrams", {"size": 3}])
def test_what_is_no_processor_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="is no Processor; give its class as _target_"):
        build(config("captioning.search.BeamSearch", processors=[value]), Search)
