"""Batched calls against the same calls one by one, in float64, for random sentences, trees and graphs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM
from captioning.recurrent.automatic_batching import Node, by_agenda, by_depth, evaluate, lazy

SIZE, EMBEDDED, VOCABULARY = 5, 3, 7
schedules = pytest.mark.parametrize("schedule", [by_depth, by_agenda])
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=11)
trees = st.recursive(st.integers(0, VOCABULARY - 1), lambda inner: st.tuples(inner, inner), max_leaves=13)
exactly = {"rtol": 0, "atol": 1e-12}


class Reader(nn.Module):
    """A language model, and a recursive composition of two vectors; counts its calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layer = nn.Embedding(VOCABULARY, EMBEDDED), LSTM(EMBEDDED, SIZE)
        self.head, self.composition = nn.Linear(SIZE, VOCABULARY), nn.Linear(2 * EMBEDDED, EMBEDDED)
        self.double()
        self.calls = Counter()

    def embed(self, token):
        self.calls["embed"] += 1
        return self.embedding(token)

    def cell(self, x, state):
        self.calls["cell"] += 1
        _, (h, c) = self.layer.step(x, tuple(s[None] for s in state.chunk(2, dim=1)))
        return torch.cat([h[0], c[0]], dim=1)

    def loss(self, state, target):
        self.calls["loss"] += 1
        return nn.functional.cross_entropy(self.head(state[:, :SIZE]), target, reduction="none")

    def compose(self, left, right):
        self.calls["compose"] += 1
        return self.composition(torch.cat([left, right], dim=1)).tanh()

    def gradients(self):
        found = {name: weight.grad for name, weight in self.named_parameters() if weight.grad is not None}
        self.zero_grad()
        return found


def one_by_one(operation, *inputs):
    """What `lazy` promises, at once: the operation on one row."""
    return operation(*(x[None] for x in inputs))[0]


def read(reader, call, sentences):
    """The loss of each token of each sentence."""
    losses = []
    for tokens in sentences:
        state = torch.zeros(2 * SIZE, dtype=torch.float64)
        for token, target in pairwise(tokens.unbind()):
            state = call(reader.cell, call(reader.embed, token), state)
            losses.append(call(reader.loss, state, target))
    return losses


def climb(reader, call, tree):
    """The vector of a tree of tokens."""
    if isinstance(tree, int):
        return call(reader.embed, torch.tensor(tree))
    return call(reader.compose, *(climb(reader, call, child) for child in tree))


def height(tree):
    return 0 if isinstance(tree, int) else 1 + max(map(height, tree))


def inner(tree):
    return 0 if isinstance(tree, int) else 1 + sum(map(inner, tree))


def assert_equal_with_gradients(reader, batched, alone):
    """Compare values (N, ..) and the gradients of a sum whose terms have different weights."""
    assert_close(batched, alone, **exactly)
    found = []
    for values in (batched, alone):
        towards = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)
        (values * towards).sum().backward()
        found.append(reader.gradients())
    assert found[0] and found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert_close(gradient, found[1][name], **exactly)


@schedules
@given(lengths=lengths)
def test_sentences_equal_one_by_one(schedule, lengths):
    reader = Reader()
    sentences = [torch.randint(VOCABULARY, (n + 1,)) for n in lengths]
    batched = evaluate(read(reader, lazy, sentences), schedule)
    assert_equal_with_gradients(reader, batched, torch.stack(read(reader, one_by_one, sentences)))


@schedules
@given(forest=st.lists(trees, min_size=1, max_size=7))
def test_trees_equal_one_by_one(schedule, forest):
    reader = Reader()
    batched = evaluate([climb(reader, lazy, tree) for tree in forest], schedule)
    alone = torch.stack([climb(reader, one_by_one, tree) for tree in forest])
    assert_equal_with_gradients(reader, batched, alone)


@schedules
@given(data=st.data())
def test_graphs_whose_nodes_are_shared_equal_one_by_one(schedule, data):
    """Any node may be read by any later ones, twice by the same one, and mixed with plain tensors."""
    reader = Reader()
    vectors = [torch.randn(EMBEDDED, dtype=torch.float64) for _ in range(3)]
    batched, alone = list[Node | torch.Tensor](vectors), list(vectors)
    for _ in range(data.draw(st.integers(1, 17))):
        pick = st.integers(0, len(alone) - 1)
        left, right = data.draw(pick), data.draw(pick)
        operation = data.draw(st.sampled_from([reader.compose, torch.mul, torch.sub]))
        batched.append(lazy(operation, batched[left], batched[right]))
        alone.append(one_by_one(operation, alone[left], alone[right]))
    batched.append(lazy(reader.compose, batched[-1], batched[0]))  # so that there is a gradient
    alone.append(one_by_one(reader.compose, alone[-1], alone[0]))
    assert_equal_with_gradients(reader, evaluate(batched[3:], schedule), torch.stack(alone[3:]))


@given(lengths=lengths)
def test_calls_of_a_list_of_sentences(lengths):
    """One call of the cell for each depth. The agenda waits with the losses, which the depth cannot."""
    sentences = [torch.randint(VOCABULARY, (n + 1,)) for n in lengths]
    longest = max(lengths)
    for schedule, losses in ((by_depth, longest), (by_agenda, 1)):
        reader = Reader()
        evaluate(read(reader, lazy, sentences), schedule)
        assert reader.calls == {"embed": 1, "cell": longest, "loss": losses}


@schedules
@given(forest=st.lists(trees, min_size=1, max_size=7))
def test_calls_of_trees_are_as_many_as_the_highest_tree_is_high(schedule, forest):
    reader = Reader()
    evaluate([climb(reader, lazy, tree) for tree in forest], schedule)
    assert reader.calls["embed"] == 1
    assert reader.calls["compose"] == max(map(height, forest))
    assert sum(map(inner, forest)) >= reader.calls["compose"]


@schedules
def test_what_has_run_does_not_run_again(schedule):
    """Control flow may depend on values: evaluate, decide, go on from there."""
    reader = Reader()
    first = read(reader, lazy, [torch.tensor([1, 2, 3]), torch.tensor([4, 5])])
    values, calls = evaluate(first, schedule), reader.calls.copy()
    assert_close(evaluate(first, schedule), values, **exactly)
    assert reader.calls == calls
    pair = [climb(reader, lazy, (1, 2)), climb(reader, lazy, (3, 4))]
    evaluate(pair[:1], schedule)
    evaluate([lazy(reader.compose, *pair)], schedule)
    assert reader.calls["compose"] == 3
    assert_close(pair[1].value, climb(reader, one_by_one, (3, 4)), **exactly)


@schedules
def test_operations_and_shapes_that_differ_are_not_mixed(schedule):
    """Two layers of one class have parameters of their own; two widths do not stack."""
    layers = [nn.Linear(3, 2).double() for _ in range(2)]
    x = torch.randn(4, 3, dtype=torch.float64)
    got = evaluate([lazy(layers[row % 2], own) for row, own in enumerate(x)], schedule)
    assert_close(got, torch.stack([layers[row % 2](own) for row, own in enumerate(x)]), **exactly)
    widths = [lazy(torch.exp, torch.zeros(n)) for n in (2, 3, 2)]
    evaluate([lazy(lambda v: v.sum(1), node) for node in widths], schedule)
    assert [node.value.shape for node in widths] == [(2,), (3,), (2,)]
    assert widths[0].batch is widths[2].batch is not widths[1].batch


@schedules
def test_a_chain_may_be_longer_than_python_s_stack(schedule):
    node = torch.zeros(2)
    for _ in range(3000):
        node = lazy(plus_one, node)
    assert evaluate([node], schedule).tolist() == [[3000.0, 3000.0]]


def plus_one(x):
    return x + 1


def test_a_layer_s_own_step_is_an_operation():
    layer = GRU(EMBEDDED, SIZE).double()

    def cell(x, h):
        return layer.step(x, (h[None],))[0]

    inputs = [torch.randn(n, EMBEDDED, dtype=torch.float64) for n in (2, 4, 3)]
    ends = []
    for x in inputs:
        h = torch.zeros(SIZE, dtype=torch.float64)
        for x_t in x:
            h = lazy(cell, x_t, h)
        ends.append(h)
    packed = nn.utils.rnn.pack_sequence(inputs, enforce_sorted=False)
    assert_close(evaluate(ends), layer(packed)[1][0][0], **exactly)


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match="give at least one"):
        evaluate([])
    with pytest.raises(InputError, match="call evaluate first"):
        _ = lazy(torch.exp, torch.zeros(2)).value
    with pytest.raises(InputError, match=r"sum returned shape \(\) for 2 rows"):
        evaluate([lazy(torch.sum, torch.zeros(2)) for _ in range(2)])
    with pytest.raises(InputError, match="those of one shape"):
        evaluate([lazy(torch.exp, torch.zeros(n)) for n in (2, 3)])
