"""Rules for every decoder; `tests/conftest.py` finds the decoders."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, unpack_sequence
from torch.testing import assert_close

from captioning.decoders import LanguageModel, WithoutImage
from captioning.decoders.attention import Memory
from captioning.decoders.decoder import Capability, State, packed_rows
from captioning.encoders.features import ImageFeatures
from captioning.search import (
    BeamSearch,
    ConstrainedBeamSearch,
    CoveringSearch,
    DiverseBeamSearch,
    GreedySearch,
    Sampling,
    StochasticBeamSearch,
)

EXACT = {"rtol": 1e-5, "atol": 1e-5}  # float32: about a hundred rounding errors of numbers near 1, or of larger ones


def captions(decoder, features, batch) -> list[Tensor]:
    """Return the logits of each caption, (T, V) each."""
    packed = batch.inputs()
    logits = decoder(features, packed, batch.image_index)
    return list(unpack_sequence(packed._replace(data=logits)))


def tensors(state: State) -> list[Tensor]:
    """Return all tensors of a state, with a row first."""
    parts = [getattr(state, f.name) for f in fields(state)]
    flat = [x for part in parts for x in (part if isinstance(part, tuple) else (part,))]
    return [x for part in flat for x in _tensors(part)]


def _tensors(part: State | Tensor) -> list[Tensor]:
    if isinstance(part, Memory):
        return regions_of_rows(part)
    return tensors(part) if isinstance(part, State) else [part]


def regions_of_rows(memory: Memory) -> list[Tensor]:
    """Return the regions that each row attends to."""
    return [x[memory.image] for x in (memory.values, memory.keys, memory.mask) if x is not None]


def test_stepping_equals_teacher_forcing(decoder, features, batch):
    starts = decoder.start(features)
    for row, expected in enumerate(captions(decoder, features, batch)):
        state = starts.rows(batch.image_index[row : row + 1])
        for t in range(len(expected)):
            logits, state = decoder.step(batch.tokens[row, t : t + 1], state)
            assert_close(logits[0], expected[t], **EXACT)


def test_stepping_all_rows_equals_stepping_each(decoder, features, batch):
    tokens = torch.tensor([4, 7, 9])
    together, state = decoder.step(tokens, decoder.start(features))
    together, _ = decoder.step(tokens.flip(0), state)
    for row in range(3):
        one = torch.tensor([row])
        _, state = decoder.step(tokens[row : row + 1], decoder.start(features.rows(one)))
        alone, _ = decoder.step(tokens.flip(0)[row : row + 1], state)
        assert_close(alone[0], together[row], **EXACT)


def test_a_caption_alone_equals_the_caption_in_a_batch(decoder, features, batch):
    for row, expected in enumerate(captions(decoder, features, batch)):
        length = batch.lengths[row : row + 1]
        inputs = pack_padded_sequence(batch.tokens[row : row + 1, : int(length)], length, True)
        logits = decoder(features, inputs, batch.image_index[row : row + 1])
        assert_close(logits, expected, **EXACT)


def test_unsorted_captions_get_the_logits_of_sorted_ones(decoder, features, batch):
    order = torch.tensor([3, 0, 4, 2, 1])
    tokens, lengths = batch.tokens[order], batch.lengths[order]
    inputs = pack_padded_sequence(tokens[:, :-1], lengths, True, enforce_sorted=False)
    logits = decoder(features, inputs, batch.image_index[order])
    expected = captions(decoder, features, batch)
    for row, got in zip(order.tolist(), unpack_sequence(inputs._replace(data=logits)), strict=True):
        assert_close(got, expected[row], **EXACT)


def test_padding_among_regions_and_objects_may_hold_anything(decoder, features, batch):
    found = []
    for padding in (0.0, torch.nan, torch.inf):
        other = features.rows(torch.arange(3))
        other.grid[~other.mask] = padding
        other.objects.boxes[~other.objects.mask] = padding
        other.objects.categories[~other.objects.mask] = 0 if padding == 0 else -1
        decoder.zero_grad()
        logits = decoder(other, batch.inputs(), batch.image_index)
        logits.square().sum().backward()
        found.append([logits, *(p.grad.clone() for p in decoder.parameters())])
    assert_close(found[1:], [found[0]] * 2, rtol=0, atol=0)


HALVES = {torch.bfloat16: 0.1, torch.float16: 0.01}
"""Differences from float32 that rounding explains, relative to the largest logit."""


def cast(features: ImageFeatures, dtype: torch.dtype) -> ImageFeatures:
    return replace(features.cast(dtype), objects=features.objects)  # data sets give boxes in float32


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
def test_modules_of_any_precision_compute_what_float32_does(one_decoder, features, batch, dtype):
    expected = one_decoder(features, batch.inputs(), batch.image_index)
    decoder, features = one_decoder.to(dtype), cast(features, dtype)
    logits = decoder(features, batch.inputs(), batch.image_index)
    assert logits.dtype == dtype
    assert_close(logits.float(), expected, rtol=0, atol=HALVES.get(dtype, 1e-5) * expected.abs().max().item())
    logits.float().log_softmax(1)[:, 2].mean().backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


def test_under_autocast_decoders_compute_what_float32_does(decoder, features, batch):
    expected = decoder(features, batch.inputs(), batch.image_index)
    for dtype, near in HALVES.items():
        with torch.autocast("cpu", dtype):
            logits = decoder(features, batch.inputs(), batch.image_index)
        assert_close(logits.float(), expected, rtol=0, atol=near * expected.abs().max().item())


SEARCHES = (
    GreedySearch(max_length=5),
    BeamSearch(beam_size=3, max_length=5),
    Sampling(max_length=5, num_samples=2, top_k=7, top_p=0.9),
    Sampling(max_length=5, typical_p=0.9),
    StochasticBeamSearch(max_length=5, num_samples=2),
    DiverseBeamSearch(max_length=5, beam_size=4, num_groups=2),
    ConstrainedBeamSearch(max_length=5, required=[[[6]]], beam_size=3),
    CoveringSearch(max_length=5, concepts=(8, -1, 5, 4, 9), beam_size=3, num_best=2),
)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
def test_every_search_works_in_any_precision(one_decoder, features, special, dtype):
    for search in SEARCHES:
        with torch.autocast("cpu", dtype, enabled=dtype in HALVES):
            assert search(one_decoder.float(), features, special).scores[:, 0].isfinite().all()
        found = search(one_decoder.to(dtype), cast(features, dtype), special)
        assert found.scores.dtype == torch.float32
        assert found.scores[:, 0].isfinite().all()


def test_padding_does_not_matter(decoder, features, batch):
    extra = 3
    padding = torch.arange(batch.tokens.shape[1] + extra) > batch.lengths[:, None]
    wider = torch.nn.functional.pad(batch.tokens, (0, extra)).masked_fill(padding, 9)
    other = replace(batch, tokens=wider)
    assert_close(captions(decoder, features, other), captions(decoder, features, batch), rtol=0, atol=0)


def test_shared_images_equal_one_row_per_caption(decoder, features, batch):
    rows = replace(batch, image_index=torch.arange(5))
    repeated = captions(decoder, features.rows(batch.image_index), rows)
    assert_close(repeated, captions(decoder, features, batch), **EXACT)


def test_a_caption_depends_on_its_own_image_alone(decoder, features, batch):
    other = features.rows(torch.arange(3))
    for seen in (other.pooled, other.grid, other.objects.boxes, *(other.final or ())):
        seen[1] += 1.0
    other.objects.categories[1, 0] = 2
    other.words[1] = 1 - other.words[1]
    before = captions(decoder, features, batch)
    after = captions(decoder, other, batch)
    sees = not isinstance(decoder, LanguageModel | WithoutImage)
    for image, a, b in zip(batch.image_index.tolist(), before, after, strict=True):
        assert a.allclose(b, **EXACT) == (image != 1 or not sees)


def test_regions_and_objects_that_are_not_real_are_not_read(decoder, features, batch):
    other = features.rows(torch.arange(3))
    other.grid[2, 1] = 1e6
    other.objects.boxes[~other.objects.mask] = 1e6
    other.objects.categories[~other.objects.mask] = 2
    after = captions(decoder, other, batch)
    assert_close(after, captions(decoder, features, batch), **EXACT)


def test_a_word_does_not_act_before_its_turn(decoder, features, batch):
    tokens = batch.tokens.clone()
    tokens[0, 4] = 10
    before, after = (captions(decoder, features, replace(batch, tokens=t))[0] for t in (batch.tokens, tokens))
    assert_close(after[:4], before[:4], **EXACT)
    assert not after[4].allclose(before[4], **EXACT)


def test_forward_is_the_head_of_hidden(decoder, features, batch):
    hidden = decoder.hidden(features, batch.inputs(), batch.image_index)
    logits = decoder(features, batch.inputs(), batch.image_index)
    assert logits.shape == (17, 11)
    assert logits.shape[1] == decoder.vocab_size
    assert_close(decoder.head(hidden), logits, rtol=0, atol=0)


def test_states_have_the_row_first_and_rows_picks_and_repeats(decoder, features):
    _, state = decoder.step(torch.tensor([4, 5, 6]), decoder.start(features))
    index = torch.tensor([2, 0, 0, 1])
    for before, after in zip(tensors(state), tensors(state.rows(index)), strict=True):
        assert len(before) == 3
        assert after.equal(before[index])


def test_a_step_does_not_change_the_given_state(decoder, features):
    state = decoder.start(features)
    before = [x.clone() for x in tensors(state)]
    decoder.step(torch.tensor([4, 5, 6]), state)
    assert all(a.equal(b) for a, b in zip(before, tensors(state), strict=True))
    with pytest.raises(FrozenInstanceError):
        setattr(state, fields(state)[0].name, None)


@torch.no_grad()
def test_the_logits_of_a_step_may_be_overwritten(decoder, features):
    state, tokens = decoder.start(features), torch.tensor([4, 5, 6])
    logits, after = decoder.step(tokens, state)
    expected, following = logits.clone(), decoder.step(tokens, after)[0]
    logits.fill_(torch.nan)
    assert decoder.step(tokens, state)[0].equal(expected)
    assert decoder.step(tokens, after)[0].equal(following)


def test_every_parameter_gets_a_gradient(decoder, features, batch):
    decoder(features, batch.inputs(), batch.image_index).square().sum().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_no_images_give_no_rows(decoder, features):
    none = torch.zeros(0, dtype=torch.int64)
    logits, _ = decoder.step(none, decoder.start(features.rows(none)))
    assert logits.shape == (0, 11)


def test_state_rows_reach_into_tuples():
    @dataclass(frozen=True)
    class Nested(State):
        layers: tuple[Tensor, ...]

    x = torch.arange(6.0).view(3, 2)
    picked = Nested((x, -x)).rows(torch.tensor([1, 1])).layers
    assert picked[0].tolist() == [[2.0, 3.0], [2.0, 3.0]]
    assert picked[1].tolist() == [[-2.0, -3.0], [-2.0, -3.0]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_packed_rows_give_the_sequence_of_each_position(lengths: list[int]):
    rows = torch.arange(len(lengths))[:, None].expand(-1, max(lengths))
    packed = pack_padded_sequence(rows, torch.tensor(lengths), True, enforce_sorted=False)
    assert packed_rows(packed).equal(packed.data)


def test_start_is_computed_once_per_image(decoder, features, batch, monkeypatch):
    rows, inner = [], [*getattr(decoder, "members", [getattr(decoder, "decoder", decoder)])]
    for one in inner:  # a decoder of others starts with them
        start = one.start
        monkeypatch.setattr(one, "start", lambda given, start=start: (rows.append(len(given)), start(given))[1])
    decoder(features, batch.inputs(), batch.image_index)
    assert [num for num in rows if num != 1] == [3] * len(inner)  # images, not the 5 captions; distractors come alone


def test_attention_weights_are_shares_of_real_regions(decoder, features, batch):
    if Capability.REGIONS not in decoder.provides:
        assert not hasattr(decoder, "attend")
        return
    weights = decoder.attend(features, batch.inputs(), batch.image_index).attention
    real = features.mask[batch.image_index][packed_rows(batch.inputs())]
    assert weights.shape == (17, 2)
    assert (weights[real] > 0).all()
    assert (weights[~real] == 0).all()
    assert (weights.sum(1) < 1 + 1e-6).all()
