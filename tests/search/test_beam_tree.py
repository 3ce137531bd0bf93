"""The tree of a beam search on Markov chains whose captions can be found by hand, and its drawing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch, Forbid
from captioning.search.beam_tree import beam_tree, draw

TRAP = {
    "^": {"a": 0.6, "b": 0.4},
    "a": {"$": 0.4, "a": 0.25, "b": 0.35},
    "b": {"$": 0.9, "a": 0.05, "b": 0.05},
}


@pytest.fixture
def spelled(spell):
    """{prefix: probability} of nodes."""
    return lambda nodes: {spell(torch.tensor(node.tokens, dtype=int)): math.exp(node.log_prob) for node in nodes}


def test_nodes_are_the_continued_prefixes_and_the_hypotheses(chain, special, spelled):
    """Of a .6 and b .4 grow a$ .24, ab .21, aa .15 and b$ .36; ab .21 and aa .15 can displace none of the best."""
    decoder = chain(TRAP)
    nodes = beam_tree(BeamSearch(beam_size=2, max_length=9), decoder, decoder.features, special)
    assert spelled(nodes) == pytest.approx({"": 1.0, "a": 0.6, "b": 0.4, "b$": 0.36})
    assert [node.best for node in nodes] == [True, False, True, True]


def test_more_hypotheses_grow_a_larger_tree(chain, special, spelled):
    decoder = chain(TRAP)
    nodes = beam_tree(BeamSearch(beam_size=2, num_best=2), decoder, decoder.features, special)
    assert spelled(nodes) == pytest.approx({"": 1.0, "a": 0.6, "b": 0.4, "b$": 0.36, "a$": 0.24})
    assert [len(node.tokens) for node in nodes] == [0, 1, 1, 2, 2]


def test_a_truncated_caption_is_a_leaf(chain, special, spelled):
    decoder = chain({"^": {"a": 0.7, "b": 0.3}, "a": {"a": 1.0}, "b": {"b": 1.0}})
    nodes = beam_tree(BeamSearch(beam_size=2, max_length=2), decoder, decoder.features, special)
    assert spelled(nodes) == pytest.approx({"": 1.0, "a": 0.7, "b": 0.3, "aa": 0.7})


def test_processors_of_the_search_prune_the_tree(chain, special, spelled):
    decoder, search = chain(TRAP), BeamSearch(beam_size=2, processors=[Forbid([4])])
    assert spelled(beam_tree(search, decoder, decoder.features, special)) == pytest.approx(
        {"": 1.0, "b": 0.4, "b$": 0.36}
    )
    assert len(search.processors) == 1  # the search is left as it was


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    num_words=st.integers(1, 7),
    max_length=st.integers(1, 7),
    beam_size=st.integers(1, 5),
    alpha=st.sampled_from([0.0, 1.0]),
)
def test_a_tree_holds_the_search_s_own_hypotheses(random_chain, special, seed, num_words, max_length, beam_size, alpha):
    decoder = random_chain(1, num_words, max_length, seed)
    search = BeamSearch(beam_size=beam_size, max_length=max_length, length_normalization=alpha, num_best=beam_size)
    nodes = beam_tree(search, decoder, decoder.features, special)
    by_tokens = {node.tokens: node for node in nodes}
    assert len(by_tokens) == len(nodes)
    assert all(node.tokens[:-1] in by_tokens for node in nodes)
    assert max(sum(len(node.tokens) == t for node in nodes) for t in range(max_length + 1)) <= 2 * beam_size
    found = search(decoder, decoder.features, special)
    ended = [tokens for tokens in by_tokens if special.eos in tokens]
    assert len(ended) == found.finished.sum() and all(tokens.index(special.eos) == len(tokens) - 1 for tokens in ended)
    for tokens, length, score in zip(found.tokens[0].tolist(), found.lengths[0], found.scores[0], strict=True):
        if length:
            assert by_tokens[tuple(tokens[:length])].log_prob == pytest.approx(score.item(), abs=1e-4)
    best = tuple(found.tokens[0, 0, : found.lengths[0, 0]].tolist())
    assert sorted(node.tokens for node in nodes if node.best) == [best[:t] for t in range(len(best) + 1)]


def test_several_images_are_refused(chain, special):
    decoder = chain(TRAP, TRAP)
    with pytest.raises(InputError, match="for one image; found features of 2"):
        beam_tree(BeamSearch(), decoder, decoder.features, special)


def test_a_drawing_has_a_column_per_word_and_the_best_caption_in_black(chain, special):
    decoder = chain(TRAP)
    nodes = beam_tree(BeamSearch(beam_size=2, num_best=2), decoder, decoder.features, special)
    (ax,) = draw(nodes, lambda i: ".^$?abc"[i]).axes
    shown = {label.get_text(): (label.get_position()[0], label.get_color()) for label in ax.texts}
    assert shown == {
        "\n0.00": (0, "black"),
        "a\n-0.51": (1, "0.6"),
        "b\n-0.92": (1, "black"),
        "$\n-1.02": (2, "black"),
        "$\n-1.43": (2, "0.6"),
    }
    assert len(ax.lines) == len(nodes) - 1
