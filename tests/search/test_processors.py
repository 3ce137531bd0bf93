"""Processors see what the search sees, and change nothing but the choice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import (
    BeamSearch,
    Forbid,
    GreedySearch,
    MinLength,
    NoBadEndings,
    NoRepeatNgrams,
    RepetitionPenalty,
)
from captioning.search.processors import apply, never

SEARCHES = [GreedySearch, BeamSearch]


def test_forbid_sets_its_tokens_alone_to_minus_infinity_and_copies():
    log_probs = torch.randn(2, 5)
    before = log_probs.clone()
    processed = Forbid([1, 3])(0, torch.zeros(2, 0), log_probs)
    assert processed[:, [1, 3]].eq(-torch.inf).all()
    assert processed[:, [0, 2, 4]].equal(log_probs[:, [0, 2, 4]])
    assert log_probs.equal(before)
    assert Forbid([])(0, torch.zeros(2, 0), log_probs).equal(before)


def test_processors_are_composed_in_order():
    def double(step, tokens, log_probs):
        return 2 * log_probs

    def less_one(step, tokens, log_probs):
        return log_probs - 1

    ones = -torch.ones(1, 1)
    assert apply([double, less_one], 0, ones, ones).item() == -3
    assert apply([less_one, double], 0, ones, ones).item() == -4
    assert apply([], 0, ones, ones) is ones


def test_never_forbids_the_special_tokens_but_the_end_in_place(special):
    for allowed, ids in ((False, [special.pad, special.bos, special.unk]), (True, [special.pad, special.bos])):
        log_probs = torch.randn(2, 7)
        expected = log_probs.index_fill(1, torch.tensor(ids), -torch.inf)
        assert never(special, allow_unknown=allowed)(0, torch.zeros(2, 0), log_probs) is log_probs
        assert log_probs.equal(expected)


@pytest.mark.parametrize("search", SEARCHES)
def test_padding_begin_and_unknown_are_never_chosen(search, chain, special, spell):
    likely = {".": 0.3, "^": 0.3, "?": 0.3, "a": 0.06, "$": 0.04}
    decoder = chain(dict.fromkeys(".^?ab", likely))
    found = search(max_length=4)(decoder, decoder.features, special)
    assert set(spell(found.tokens[0, 0, : found.lengths[0, 0]])) <= set("a$")
    assert found.token_scores[0, 0, 0].exp().item() == pytest.approx(0.06 if search is GreedySearch else 0.04)


@pytest.mark.parametrize("search", SEARCHES)
def test_unknown_may_be_allowed(search, chain, special, spell):
    decoder = chain({"^": {"?": 0.9, "a": 0.1}, "?": {"$": 0.9, ".": 0.1}, "a": {"$": 1.0}})
    found = search(allow_unknown=True)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]) == "?$"


@pytest.mark.parametrize("search", SEARCHES)
def test_a_processor_sees_each_rows_own_prefix_and_scores_stay_the_decoders(search, chain, special, spell):
    # Without the processor, a follows a without end.
    again = {"a": 0.8, "b": 0.12, "$": 0.08}
    decoder = chain({"^": again, "a": again, "b": again}, {"^": {"b": 1.0}, "a": again, "b": again})

    def no_word_twice(step, tokens, log_probs):
        assert tokens.shape == (len(log_probs), step)
        return log_probs.scatter(1, tokens, -torch.inf)

    found = search(processors=[no_word_twice])(decoder, decoder.features, special)
    captions = [spell(t).rstrip(".") for t in found.tokens[:, 0]]
    assert all(len(set(caption)) == len(caption) for caption in captions)
    assert captions == (["ab$", "ba$"] if search is GreedySearch else ["$", "b$"])


def test_min_length_forbids_the_end_alone_and_only_before_it():
    log_probs = torch.randn(3, 7)
    before = log_probs.clone()
    for step in range(5):
        processed = MinLength(3, eos=2)(step, torch.zeros(3, step), log_probs)
        assert processed[:, 2].eq(-torch.inf).all() == (step < 3)
        assert processed[:, [0, 1, 3, 4, 5, 6]].equal(before[:, [0, 1, 3, 4, 5, 6]])
    assert log_probs.equal(before)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_captions_have_at_least_the_given_words(search, length, random_chain, special):
    decoder = random_chain(9, 5, 11, seed=3)
    free = search(max_length=11)(decoder, decoder.features, special)
    found = search(max_length=11, processors=[MinLength(length, special.eos)])(decoder, decoder.features, special)
    assert (found.lengths[found.finished] >= length + 1).all()
    assert found.finished.any()
    same = free.lengths[:, 0] > length
    if search is GreedySearch:  # what is long enough is not changed
        assert all(found.tokens[i, 0, :n].equal(free.tokens[i, 0, :n]) for i, n in _lengths(free) if same[i])
    else:  # nothing better is kept out
        assert (found.scores <= free.scores + 1e-6).all()
    assert length == 0 or not same.all()


def _lengths(found):
    return enumerate(found.lengths[:, 0].tolist())


def repeats(tokens: list[int], n: int) -> bool:
    ngrams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(ngrams)) < len(ngrams)


@given(
    size=st.integers(1, 4),
    tokens=st.integers(0, 9).flatmap(
        lambda t: st.lists(st.lists(st.integers(0, 3), min_size=t, max_size=t), min_size=1, max_size=5)
    ),
)
def test_a_token_is_forbidden_exactly_if_it_completes_an_n_gram_that_is_there_already(size, tokens):
    prefixes = torch.tensor(tokens, dtype=torch.int64).reshape(len(tokens), -1)
    log_probs = torch.zeros(len(tokens), 5)
    processed = NoRepeatNgrams(size)(prefixes.shape[1], prefixes, log_probs)
    assert not log_probs.any()
    for row, prefix in enumerate(tokens):
        before = {tuple(prefix[i : i + size]) for i in range(len(prefix) - size + 1)}
        forbidden = [(*prefix[len(prefix) - size + 1 :], w) in before for w in range(5)]
        assert processed[row].eq(-torch.inf).tolist() == forbidden
        assert processed[row][~torch.tensor(forbidden)].eq(0).all()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_captions_repeat_no_n_gram(search, size, random_chain, special):
    decoder = random_chain(9, 3, 12, seed=5)

    def captions(*processors):
        found = search(max_length=12, processors=processors)(decoder, decoder.features, special)
        return [tokens[:n].tolist() for tokens, n in zip(found.tokens[:, 0], found.lengths[:, 0], strict=True)]

    long = MinLength(size + 1 if size > 1 else 2, special.eos)  # there are three words
    assert any(repeats(caption, size) for caption in captions(long))
    found = captions(long, NoRepeatNgrams(size))
    assert not any(repeats(caption, size) for caption in found)
    assert all(len(caption) > long.length for caption in found)


def test_the_penalty_multiplies_the_log_probabilities_of_tokens_so_far():
    log_probs = torch.tensor([[-1.0, -2.0, -torch.inf, -4.0], [-1.0, -2.0, -3.0, 0.0]])
    processed = RepetitionPenalty(1.5)(3, torch.tensor([[1, 1, 2], [3, 0, 3]]), log_probs)
    assert processed.tolist() == [[-1.0, -3.0, -torch.inf, -4.0], [-1.5, -2.0, -3.0, 0.0]]
    assert RepetitionPenalty(1.0)(1, torch.tensor([[1], [0]]), log_probs).equal(log_probs)
    assert RepetitionPenalty(2.0)(0, torch.zeros(2, 0, dtype=torch.int64), log_probs).equal(log_probs)


def test_a_strong_penalty_leaves_fewer_repetitions(random_chain, special):
    decoder = random_chain(9, 5, 12, seed=5)
    counts = []
    for penalty in (1.0, 1.5, 10.0):
        found = GreedySearch(max_length=12, processors=[RepetitionPenalty(penalty)])(decoder, decoder.features, special)
        rows = [tokens[:n].tolist() for tokens, n in zip(found.tokens[:, 0], found.lengths[:, 0], strict=True)]
        counts.append(sum(len(row) - len(set(row)) for row in rows) / sum(map(len, rows)))
    assert counts[0] > counts[1] >= counts[2]


@pytest.mark.parametrize(
    "processor", [MinLength(3, 2), NoRepeatNgrams(2), RepetitionPenalty(1.3), NoBadEndings([4], 2)]
)
def test_a_processor_never_raises_a_log_probability(processor):
    random = torch.Generator().manual_seed(1)
    for step in range(6):
        log_probs = torch.randn(50, 7, generator=random).log_softmax(1)
        tokens = torch.randint(3, 7, (50, step), generator=random)
        before = log_probs.clone()
        assert (processor(step, tokens, log_probs) <= before).all()
        assert log_probs.equal(before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinLength(-1, 2), r"length=-1 must be in 0\.\.4096"),
        (lambda: MinLength(4097, 2), r"length=4097 must be in 0\.\.4096"),
        (lambda: NoRepeatNgrams(0), r"size=0 must be in 1\.\.4096"),
        (lambda: RepetitionPenalty(0.9), r"penalty=0\.9 must be in 1\.\.10"),
        (lambda: RepetitionPenalty(float("nan")), r"penalty=nan must be in 1\.\.10"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
