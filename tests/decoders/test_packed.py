"""Packed decoders take the same steps as their decoder, and leave it as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from captioning.decoders import ShowAndTell, packed, packed_layers
from captioning.decoders.packed_layers import PackedGRU, PackedLinear, PackedLSTM, Product, can_pack
from captioning.recurrent import GRU, LSTM

pytestmark = pytest.mark.skipif(not can_pack(torch.float32), reason="this torch has no packed products")
TOKENS = torch.tensor([1, 5, 3])


@pytest.fixture(autouse=True)
def _pack_small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)


@pytest.fixture
def small() -> ShowAndTell:
    torch.manual_seed(0)
    return build()


def build() -> ShowAndTell:
    return ShowAndTell(feature_size=13, vocab_size=11, recurrent=LSTM, embedding_size=5, hidden_size=6).eval()


def steps(decoder: Any, features: Any, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The logits of three steps."""
    state, found = decoder.start(features.cast(dtype)), []
    for _ in range(3):
        logits, state = decoder.step(TOKENS[: len(features)], state)
        found.append(logits.float())
    return found


@torch.no_grad()
def test_the_steps_of_every_decoder_are_the_same(decoder, features) -> None:
    assert_close(steps(packed.packed(decoder), features), steps(decoder, features), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_steps_are_the_same_in_bfloat16(small, features) -> None:
    if not can_pack(torch.bfloat16):
        pytest.skip("no packed products of bfloat16")
    decoder = small.to(torch.bfloat16)
    assert packed.packed(decoder) is not decoder
    found, wanted = (steps(d, features, torch.bfloat16) for d in (packed.packed(decoder), decoder))
    assert_close(found, wanted, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("layer", "kind"), [(LSTM, PackedLSTM), (GRU, PackedGRU)])
@pytest.mark.parametrize("num_layers", [1, 3])
@torch.no_grad()
def test_a_packed_layer_steps_as_its_layer_does(layer: Any, kind: Any, num_layers: int) -> None:
    torch.manual_seed(0)
    plain = layer(5, 6, num_layers=num_layers).eval()
    quick, x = kind(plain), torch.randn(4, 5)
    (output, state), (wanted, wanted_state) = quick.step(x), plain.step(x)
    assert_close((output, state), (wanted, wanted_state))
    assert_close(quick.step(x, state), plain.step(x, wanted_state))
    lengths = torch.tensor([2, 3, 1, 3])
    sequence = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 4, 5), lengths, enforce_sorted=False)
    assert_close(quick(sequence), plain(sequence))
    assert_close(quick(sequence, state), plain(sequence, wanted_state))


def test_layers_are_replaced_in_a_copy_alone(small) -> None:
    with torch.no_grad():
        quick: Any = packed.packed(small)
    assert (type(quick.head), type(quick.layer)) == (PackedLinear, PackedLSTM)
    assert (type(small.head), type(small.recurrent)) == (nn.Linear, LSTM)
    assert quick.decoder.embedding is small.embedding
    assert quick.head.weight is small.head.weight


def test_dropout_is_left_out(features) -> None:
    decoder = ShowAndTell(feature_size=13, vocab_size=11, recurrent=LSTM, image_dropout=0.5, dropout=0.5).eval()
    with torch.no_grad():
        quick: Any = packed.packed(decoder)
        assert not any(isinstance(module, nn.Dropout) for module in quick.modules())
        assert_close(steps(quick, features), steps(decoder, features), rtol=1e-4, atol=1e-5)
    assert isinstance(decoder.dropout, nn.Dropout)


@torch.no_grad()
def test_it_does_not_change_with_the_weights(small, features) -> None:
    quick: Any = packed.packed(small)
    before = quick.head(torch.ones(1, 6))
    small.head.weight.mul_(2)
    assert torch.equal(quick.head(torch.ones(1, 6)), before)


@torch.no_grad()
def test_other_precisions_are_not_packed(small) -> None:
    assert packed.packed(small.double()) is None


@torch.no_grad()
def test_small_layers_are_not_packed(small, monkeypatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 10_000)
    assert packed.packed(small).head is small.head


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, RuntimeError])
def test_a_torch_without_packed_products_packs_nothing(monkeypatch, error: type[Exception]) -> None:
    def missing(*_: Any) -> Product:
        raise error

    monkeypatch.setattr(packed_layers, "Product", missing)
    assert not can_pack.__wrapped__(torch.float32)


def test_products_that_give_other_numbers_are_not_used(monkeypatch) -> None:
    monkeypatch.setattr(Product, "__call__", lambda self, x: x.new_full((len(x), 32), 0.5))
    assert not can_pack.__wrapped__(torch.float32)


@torch.no_grad()
def test_a_product_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(9, 5), torch.randn(9)
    for shape in ((3, 5), (2, 3, 5), (1, 5), (0, 5)):
        x = torch.randn(shape)
        assert_close(Product(weight, bias)(x), x @ weight.T + bias)
        assert_close(Product(weight, None)(x), x @ weight.T)
    columns = torch.randn(5, 3).T
    assert_close(Product(weight, bias)(columns), columns @ weight.T + bias)
