"""Rules for every recurrent layer, and for the loop over time."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence, unpack_sequence
from torch.testing import assert_close

from captioning.recurrent import unroll

LENGTHS = [7, 5, 5, 2, 1]


@pytest.fixture
def inputs() -> PackedSequence:
    """B = 5 rows of E = 17 channels, T = 7."""
    random = torch.Generator().manual_seed(1)
    return pack_padded_sequence(torch.randn(5, 7, 17, generator=random), torch.tensor(LENGTHS), True)


def random_state(recurrent, batch_size: int):
    return tuple(torch.randn_like(s) for s in recurrent.initial(batch_size, like=torch.zeros(())))


def test_stepping_equals_whole_sequences(recurrent, inputs):
    state = random_state(recurrent, 5)
    outputs, final = recurrent(inputs, state)
    for row, (x, expected) in enumerate(zip(unpack_sequence(inputs), unpack_sequence(outputs), strict=True)):
        own = tuple(s[:, row : row + 1] for s in state)
        for t in range(len(x)):
            output, own = recurrent.step(x[t : t + 1], own)
            assert_close(output[0], expected[t], rtol=0, atol=1e-5)
        assert_close(own, tuple(s[:, row : row + 1] for s in final), rtol=0, atol=1e-5)


def test_gradients_of_stepping_equal_those_of_whole_sequences(recurrent, inputs):
    recurrent(inputs, recurrent.initial(5, like=inputs.data))[0].data.square().sum().backward()
    whole = [weight.grad.clone() for weight in recurrent.parameters()]
    recurrent.zero_grad()
    for x in unpack_sequence(inputs):
        state = recurrent.initial(1, like=x)
        for t in range(len(x)):
            output, state = recurrent.step(x[t : t + 1], state)
            output.square().sum().backward(retain_graph=True)
    assert_close([weight.grad for weight in recurrent.parameters()], whole, rtol=1e-4, atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(sequence_layer, inputs):
    state = random_state(sequence_layer, 5)
    outputs, final = sequence_layer(inputs, state)
    for row, (x, expected) in enumerate(zip(unpack_sequence(inputs), unpack_sequence(outputs), strict=True)):
        alone = pack_padded_sequence(x[None], torch.tensor([len(x)]), True)
        own, last = sequence_layer(alone, tuple(s[:, row : row + 1].contiguous() for s in state))
        assert_close(own.data, expected, rtol=0, atol=1e-5)
        assert_close(last, tuple(s[:, row : row + 1] for s in final), rtol=0, atol=1e-5)


def test_unsorted_rows_keep_their_own_states_as_in_torch(sequence_layer):
    lengths = [2, 7, 1, 5, 5]
    random = torch.Generator().manual_seed(1)
    rows = [torch.randn(n, 17, generator=random) for n in lengths]
    state = random_state(sequence_layer, 5)
    outputs, final = sequence_layer(pack_sequence(rows, enforce_sorted=False), state)
    for row, (x, got) in enumerate(zip(rows, unpack_sequence(outputs), strict=True)):
        own, last = sequence_layer(pack_sequence([x]), tuple(s[:, row : row + 1].contiguous() for s in state))
        assert_close(got, own.data, rtol=0, atol=1e-5)
        assert_close(tuple(s[:, row : row + 1] for s in final), last, rtol=0, atol=1e-5)


def test_gradients_of_unsorted_rows_reach_their_own_states(sequence_layer):
    lengths, order = [2, 7, 1, 5], torch.tensor([1, 3, 0, 2])  # order: longest first
    rows = [torch.randn(n, 17, generator=torch.Generator().manual_seed(n)) for n in lengths]
    start = tuple(s.requires_grad_() for s in random_state(sequence_layer, 4))
    outputs, final = sequence_layer(pack_sequence(rows, enforce_sorted=False), start)
    weight = torch.arange(1.0, 5)[:, None]
    (outputs.data.square().sum() + sum((s * weight).sum() for s in final)).backward()
    by_length = tuple(s.detach()[:, order].requires_grad_() for s in start)
    outputs, final = sequence_layer(pack_sequence([rows[i] for i in order]), by_length)
    (outputs.data.square().sum() + sum((s * weight[order]).sum() for s in final)).backward()
    assert_close([s.grad[:, order] for s in start], [s.grad for s in by_length], rtol=1e-5, atol=1e-5)


def test_outputs_are_packed_as_the_inputs_and_of_the_layers_sizes(sequence_layer, inputs):
    state = sequence_layer.initial(5, like=inputs.data)
    outputs, final = sequence_layer(inputs, state)
    assert outputs.data.shape == (sum(LENGTHS), 38)
    assert outputs.batch_sizes.equal(inputs.batch_sizes)
    assert (sequence_layer.input_size, sequence_layer.hidden_size) == (17, 38)
    assert [s.shape for s in final] == [s.shape for s in state]


def test_the_initial_state_is_zero_with_the_given_dtype(sequence_layer):
    for s in sequence_layer.initial(3, like=torch.zeros(2, dtype=torch.float64)):
        assert s.dtype == torch.float64
        assert not s.any()


def test_without_a_state_whole_sequences_start_from_the_initial_one(sequence_layer, inputs):
    got, expected = sequence_layer(inputs), sequence_layer(inputs, sequence_layer.initial(5, like=inputs.data))
    assert_close(got, expected, rtol=0, atol=0)


def test_without_a_state_a_step_starts_from_the_initial_one(recurrent, inputs):
    x = inputs.data[:3]
    assert_close(recurrent.step(x), recurrent.step(x, recurrent.initial(3, like=x)), rtol=0, atol=0)


def test_a_step_s_output_and_state_are_of_the_layer_s_sizes(recurrent):
    state = recurrent.initial(3, like=torch.zeros(()))
    output, after = recurrent.step(torch.ones(3, 17), state)
    assert output.shape == (3, recurrent.hidden_size) == (3, 19)
    assert {s.shape for s in (*state, *after)} == {(recurrent.num_layers, 3, 19)}


def test_mixed_precision_is_near_full_precision(sequence_layer, inputs):
    state = sequence_layer.initial(5, like=inputs.data)
    expected, _ = sequence_layer(inputs, state)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = sequence_layer(inputs, state)
    assert_close(outputs.data.float(), expected.data, rtol=0, atol=0.2)


PRECISIONS = {torch.bfloat16: 0.2, torch.float16: 0.02, torch.float64: 1e-5}
"""Differences from float32 that rounding explains."""


def test_layers_of_any_precision_compute_what_float32_does(sequence_layer, inputs):
    state = random_state(sequence_layer, 5)
    expected, expected_final = sequence_layer(inputs, state)
    for dtype, near in PRECISIONS.items():
        layer = deepcopy(sequence_layer).to(dtype)
        outputs, final = layer(inputs.to(dtype), tuple(s.to(dtype) for s in state))
        assert {x.dtype for x in (outputs.data, *final)} == {dtype}
        assert_close(outputs.data.float(), expected.data, rtol=near, atol=near)
        assert_close([s.float() for s in final], list(expected_final), rtol=near, atol=near)
        outputs.data.float().square().sum().backward()


def test_steps_of_any_precision_compute_what_float32_does(recurrent, inputs):
    x, state = inputs.data[:5], random_state(recurrent, 5)
    expected, expected_after = recurrent.step(x, state)
    for dtype, near in PRECISIONS.items():
        output, after = deepcopy(recurrent).to(dtype).step(x.to(dtype), tuple(s.to(dtype) for s in state))
        assert {x.dtype for x in (output, *after)} == {dtype}
        assert_close([x.float() for x in (output, *after)], [expected, *expected_after], rtol=near, atol=near)


def test_a_step_may_have_no_rows(recurrent):
    output, state = recurrent.step(torch.zeros(0, 17), recurrent.initial(0, like=torch.zeros(())))
    assert output.shape == (0, 19)
    assert {s.shape for s in state} == {(recurrent.num_layers, 0, 19)}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_unroll_returns_each_rows_own_last_state(lengths: list[int]):
    # A cell that sums: the output at time t is start + x_0 + .. + x_t, the state is (sum, count).
    x = torch.arange(float(len(lengths) * max(lengths))).view(len(lengths), max(lengths), 1)
    start = torch.arange(1.0, len(lengths) + 1)[:, None] / 8  # eighths are exact
    running = []

    def add(x, state):
        running.append(len(x))
        total, count = state
        return total + x, (total + x, count + 1)

    packed = pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=False)
    outputs, (total, count) = unroll(add, packed, (start, torch.zeros(len(lengths), 1)))
    padded, _ = pad_packed_sequence(outputs, True)
    for row, length in enumerate(lengths):
        sums = start[row] + x[row, :length].cumsum(0)
        assert padded[row, :length].equal(sums)
        assert total[row].equal(sums[-1])
        assert count[row] == length
    assert running == [sum(length > t for length in lengths) for t in range(max(lengths))]
