"""The model that a run fine-tunes: its parts, its weights under a larger vocabulary, and what contradicts it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.training.base_model import base_parts, check_base, copy_rows


def test_known_words_keep_their_logits_in_every_decoder(
    sized_decoder: Callable[[int], Any], features: ImageFeatures
) -> None:
    torch.manual_seed(0)
    old, new = sized_decoder(11).eval(), sized_decoder(14).eval()
    copy_rows(old, new, num_tokens=11, source="base")
    if layer := getattr(old, "recurrent", None):  # a decoder of sentences starts from its encoder's final state
        final = (state.transpose(0, 1) for state in layer.initial(3, like=features.pooled))
        features = replace(features, final=tuple(final))
    weights = old.state_dict()
    assert all(torch.equal(value[: len(weights[name])], weights[name]) for name, value in new.state_dict().items())
    captions, rows = pack_sequence([torch.tensor([1, 4, 8, 2]), torch.tensor([1, 6])]), torch.tensor([0, 2])
    torch.testing.assert_close(new(features, captions, rows)[:, :11], old(features, captions, rows))


def test_rows_of_new_words_are_those_of_a_new_decoder(sized_decoder: Callable[[int], Any]) -> None:
    torch.manual_seed(1)
    new = sized_decoder(14)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    old = sized_decoder(11)
    copy_rows(old, new, num_tokens=11, source="base")
    grown = [name for name, value in old.state_dict().items() if value.shape != before[name].shape]
    assert grown
    assert all(torch.equal(new.state_dict()[name][11:], before[name][11:]) for name in grown)


def test_weights_without_a_row_for_each_token_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"base: Linear's weight does not have one row for each token.*vocabulary=keep"
    ):
        copy_rows(nn.Linear(11, 5), nn.Linear(14, 5), num_tokens=11, source="base")
    with pytest.raises(InputError, match="does not have one row for each token"):
        copy_rows(nn.Linear(5, 22), nn.Linear(5, 28), num_tokens=11, source="base")


BASE = {"model": "runs/base", "vocabulary": {"_target_": "captioning.text.keep_vocabulary"}, "standardise": None}


@pytest.mark.parametrize(
    "name",
    ["encoder", "decoder", "detector", "matcher", "text", "source_text", "search", "embeddings", "standardise"],
)
def test_what_describes_a_new_model_contradicts_one_that_is_fine_tuned(name: str) -> None:
    check_base(OmegaConf.create(BASE))
    with pytest.raises(InputError, match=rf"model=runs/base with {name}=: .* remove this setting"):
        check_base(OmegaConf.create({**BASE, name: "something"}))


def test_all_contradictions_are_named_together() -> None:
    with pytest.raises(InputError, match=r"with encoder=, decoder=: .* remove these settings"):
        check_base(OmegaConf.create({**BASE, "decoder": "x", "encoder": "y"}))


def test_a_vocabulary_is_chosen_with_a_model_and_only_then() -> None:
    with pytest.raises(InputError, match="model=runs/base without vocabulary=: choose vocabulary=keep or"):
        check_base(OmegaConf.create({**BASE, "vocabulary": None}))
    with pytest.raises(InputError, match="model=WHERE must be given"):
        check_base(OmegaConf.create({**BASE, "model": None}))
    check_base(OmegaConf.create({"encoder": "x", "decoder": "y"}))


def test_a_fine_tuned_model_does_not_inherit_the_confidences_of_other_weights(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parts = base_parts(OmegaConf.create({"model": "flickr8k", "trust": []}))
    assert parts.confidences is None
    assert "the confidences of model=flickr8k are of its own weights; calibrate the new model" in caplog.text
