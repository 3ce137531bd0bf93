"""A table of the words' part of a step gives the steps of its decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from captioning.decoders import FC, InitInject, LanguageModel, PreInject, ShowAndTell, UpDown, packed, word_table
from captioning.decoders.packed_layers import can_pack
from captioning.decoders.word_table import WordTable, can_look_up
from captioning.recurrent import GRU, LSTM, Elman, MaxoutLSTM
from tests.conftest import build_loud

pytestmark = pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no packed products")
SIZES: dict[str, Any] = {"feature_size": 13, "vocab_size": 11, "embedding_size": 5, "hidden_size": 6}
TOKENS = torch.tensor([1, 5, 3])


def two_layers(recurrent: Any) -> Callable[[int, int], Any]:
    return lambda input_size, hidden_size: recurrent(input_size, hidden_size, num_layers=2)


@pytest.fixture(autouse=True)
def _pack_small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)


@pytest.mark.parametrize("decoder", [ShowAndTell, InitInject, PreInject, LanguageModel])
@pytest.mark.parametrize("recurrent", [LSTM, GRU, two_layers(LSTM), two_layers(GRU)], ids=["LSTM", "GRU", "2", "2 GRU"])
@torch.no_grad()
def test_its_steps_are_those_of_the_decoder(decoder: Any, recurrent: Any, features: Any) -> None:
    plain = build_loud(lambda: decoder(recurrent=recurrent, **SIZES))
    quick: Any = packed.packed(plain)
    assert isinstance(quick, WordTable)
    state, wanted_state = quick.start(features), plain.start(features)
    for _ in range(3):
        (logits, state), (wanted, wanted_state) = quick.step(TOKENS, state), plain.step(TOKENS, wanted_state)
        assert_close((logits, state.recurrent), (wanted, wanted_state.recurrent), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_teacher_forcing_is_that_of_the_decoder(batch: Any, features: Any) -> None:
    plain = build_loud(lambda: ShowAndTell(recurrent=LSTM, **SIZES))
    arguments = (features, batch.inputs(), batch.image_index)
    assert_close(packed.packed(plain)(*arguments), plain(*arguments), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "build",
    [
        lambda: ShowAndTell(recurrent=Elman, **SIZES),
        lambda: FC(recurrent=MaxoutLSTM, **SIZES),
        lambda: UpDown(feature_size=13, vocab_size=11),
    ],
    ids=["Elman", "FC", "its layer reads more than words"],
)
def test_other_decoders_have_none(build: Callable[[], Any]) -> None:
    made = packed.packed(build().eval())
    assert not isinstance(made, WordTable)
    assert not can_look_up(made)


@torch.no_grad()
def test_a_table_that_is_too_large_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = ShowAndTell(recurrent=LSTM, **SIZES).eval()
    monkeypatch.setattr(word_table, "LARGEST", 11 * 4 * 6)
    assert isinstance(packed.packed(decoder), WordTable)
    monkeypatch.setattr(word_table, "LARGEST", 11 * 4 * 6 - 1)
    assert not isinstance(packed.packed(decoder), WordTable)
