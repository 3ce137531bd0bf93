"""Covering search on Markov chains: by hand, by exhaustive search, and by a plain search without early stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch, CoveringSearch

EVEN = {
    "^": {"a": 0.5, "b": 0.3, "c": 0.2},
    "a": {"$": 0.6, "b": 0.3, "c": 0.1},
    "b": {"$": 0.5, "a": 0.4, "c": 0.1},
    "c": {"$": 0.8, "a": 0.1, "b": 0.1},
}
# Sentences of one or two words: a$ .3, c$ .16, b$ .15, ab$ .075, ba$ .072, ac$ .04, bc$ .024, ca$ .012, cb$ .01.
MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = (4, 5, 6)


def said(found, spell, image=0):
    """An image's hypotheses, best first."""
    lengths = found.lengths[image].tolist()
    return [spell(tokens[:n]) for tokens, n in zip(found.tokens[image], lengths, strict=True) if n]


def search(decoder, words, special, **options):
    """Search with the words a, b and c, of probabilities `words`."""
    features = replace(decoder.features, words=torch.tensor(words))
    options = {"concepts": WORDS, "beam_size": 50, "num_common": 0, "max_length": 3, **options}
    return CoveringSearch(**options)(decoder, features, special)


def test_the_list_mentions_at_least_t_detected_words(chain, special, spell):
    def found(t, n):
        return said(search(chain(EVEN), [[0.9, 0.9, 0.1]], special, num_words=t, num_best=n), spell)

    assert found(0, 4) == ["a$", "c$", "b$", "ab$"]
    assert found(1, 4) == ["a$", "b$", "ab$", "ba$"]
    assert found(2, 2) == ["ab$", "ba$"]


def test_t_is_lowered_until_the_list_is_full_and_no_further(chain, special, spell):
    decoder = chain(EVEN)
    found = search(decoder, [[0.9, 0.9, 0.1]], special, num_words=2, num_best=3, max_length=3)
    assert said(found, spell) == ["a$", "b$", "ab$"]
    found = search(decoder, [[0.9, 0.9, 0.9]], special, num_words=3, num_best=6, max_length=3)
    assert said(found, spell) == ["ab$", "ba$", "ac$", "bc$", "ca$", "cb$"]


def test_the_list_is_ordered_by_probability_alone(chain, special, spell):
    found = search(chain(EVEN), [[0.9, 0.9, 0.1]], special, num_words=1, num_best=9)
    scores = found.scores[0][found.lengths[0] > 0]
    assert scores.equal(scores.sort(descending=True).values)
    torch.testing.assert_close(found.token_scores.sum(2)[0, 0], found.scores[0, 0])
    assert found.scores[0, 0].exp().item() == pytest.approx(0.3)


AGAIN = {"^": {"a": 1.0}, "a": {"b": 0.9, "$": 0.1}, "b": {"a": 0.9, "$": 0.1}}


def test_a_detected_word_is_mentioned_once(chain, special, spell):
    decoder = chain(AGAIN)
    found = search(decoder, [[0.9, 0.1, 0.1]], special, num_best=3, max_length=6)
    assert said(found, spell)[:2] == ["a$", "ab$"]  # and never a second a
    found = search(decoder, [[0.1, 0.1, 0.1]], special, num_best=3, max_length=6)
    assert "aba$" in said(found, spell)


def test_the_most_frequent_words_can_be_repeated_and_count_once(chain, special, spell):
    decoder = chain(AGAIN)
    found = search(decoder, [[0.9, 0.9, 0.1]], special, num_best=2, num_words=2, num_common=1, max_length=4)
    assert said(found, spell) == ["ab$", "aba$"]  # a is the most frequent word; b cannot be repeated
    found = search(decoder, [[0.9, 0.1, 0.1]], special, num_best=4, num_words=2, num_common=2, max_length=4)
    assert "aba$" in said(found, spell)  # two times the same word are not two words, so T was lowered
    assert "a$" in said(found, spell)


def allowed(tokens, i, words):
    return i not in words or i not in tokens


def listed(sentences, words, *, num_words, n):
    """The rule of the list, with the sentences that ended and those that did not."""
    ended = [s for s in sentences if s[1]]
    t = num_words
    while t and sum(len(words & set(tokens)) >= t for tokens, _, _ in ended) < n:
        t -= 1
    best = sorted((s for s in ended if len(words & set(s[0])) >= t), key=lambda s: -s[2])[:n]
    return best + sorted((s for s in sentences if not s[1]), key=lambda s: -s[2])[: n - len(best)]


def literal(chain, image, special, words, *, beam_size, max_length, num_words, n):
    """All sentences that a beam of any width finds without early stop; `beam_size` None for all sentences."""
    tables = chain.tables[image].double().log_softmax(2).tolist()
    ids = [i for i in range(chain.vocab_size) if i not in (special.pad, special.bos, special.unk)]
    open_, ended = [((), False, 0.0)], []
    for _ in range(max_length):
        grown = [
            ((*tokens, i), i == special.eos, score + tables[len(tokens)][tokens[-1] if tokens else special.bos][i])
            for tokens, _, score in open_
            for i in ids
            if allowed(tokens, i, words)
        ]
        grown.sort(key=lambda h: -h[2])
        ended += [h for h in grown[:beam_size] if h[1]]
        open_ = [h for h in grown if not h[1]][:beam_size]
    return listed(ended + open_, words, num_words=num_words, n=n)


def assert_same(found, image, expected):
    got = [
        (tuple(tokens[:length]), finished)
        for tokens, length, finished in zip(
            found.tokens[image].tolist(), found.lengths[image].tolist(), found.finished[image].tolist(), strict=True
        )
        if length
    ]
    assert got == [(tokens, finished) for tokens, finished, _ in expected]
    scores = found.scores[image, : len(got)].tolist()
    assert scores == pytest.approx([score for *_, score in expected], abs=1e-5)
    assert found.scores[image, len(got) :].eq(-torch.inf).all()


RANDOM = {
    "seed": st.integers(0, 10**6),
    "max_length": st.integers(1, 4),
    "num_words": st.integers(0, 3),
    "n": st.integers(1, 30),
    "probabilities": st.lists(
        st.lists(st.sampled_from([0.1, 0.9]), min_size=3, max_size=3), min_size=1, max_size=3
    ),
}  # fmt: skip


def compare(random_chain, special, beam_size, *, seed, max_length, num_words, n, probabilities):
    decoder = random_chain(len(probabilities), 3, max_length, seed)
    options = {"beam_size": beam_size or 4**4, "max_length": max_length, "num_words": num_words, "num_best": n}
    found = search(decoder, probabilities, special, **options)
    for image, own in enumerate(probabilities):
        words = {word for word, p in zip(WORDS, own, strict=True) if p > 0.5}
        sizes = {"beam_size": beam_size, "max_length": max_length, "num_words": num_words, "n": n}
        assert_same(found, image, literal(decoder, image, special, words, **sizes))


@MANY
@given(**RANDOM)
def test_a_wide_beam_equals_exhaustive_search(random_chain, special, **case):
    compare(random_chain, special, None, **case)


@MANY
@given(**RANDOM, beam_size=st.integers(1, 6))
def test_any_beam_equals_a_plain_search_without_early_stop(random_chain, special, beam_size, **case):
    compare(random_chain, special, beam_size, **case)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_without_detected_words_it_is_beam_search(random_chain, special, beam_size):
    decoder = random_chain(4, 3, 5, 1)
    expected = BeamSearch(beam_size=beam_size, num_best=beam_size, max_length=5)(decoder, decoder.features, special)
    rows = decoder.rows.copy()
    found = search(decoder, [[0.1] * 3] * 4, special, beam_size=beam_size, num_best=beam_size, max_length=5)
    for got, own in zip(vars(found).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(got, own)
    assert decoder.rows[len(rows) :] == rows  # it stops as early


def test_an_image_leaves_the_batch_when_its_list_is_full_and_settled(chain, special, spell):
    at_once = {"^": {"a": 1.0}, "a": {"$": 0.9, "b": 0.1}, "b": {"$": 1.0}}
    decoder = chain(at_once, AGAIN)
    found = search(decoder, [[0.9, 0.1, 0.1], [0.9, 0.9, 0.1]], special, num_best=1, num_words=2, max_length=9)
    assert said(found, spell, 0) == ["a$"]
    assert said(found, spell, 1) == ["ab$"]
    assert decoder.rows[0] == 2
    assert len(decoder.rows) < 9


def test_no_images_give_no_hypotheses(chain, special):
    decoder = chain(EVEN)
    none = torch.zeros(0, dtype=torch.int64)
    features = replace(decoder.features, words=torch.zeros(1, 3)).rows(none)
    assert CoveringSearch(concepts=WORDS, num_best=3)(decoder, features, special).tokens.shape[:2] == (0, 3)


def test_features_without_words_or_of_another_detector_are_refused(chain, special):
    decoder = chain(EVEN)
    with pytest.raises(InputError, match="the features have none"):
        CoveringSearch(concepts=WORDS)(decoder, decoder.features, special)
    with pytest.raises(InputError, match=r"needs the words of a detector; give search\.concepts"):
        CoveringSearch()(decoder, decoder.features, special)
    with pytest.raises(InputError, match="probabilities of 2 words, expected 3"):
        search(decoder, [[0.5, 0.5]], special)
    with pytest.raises(InputError, match="token id 7 is outside the vocabulary of 7"):
        search(decoder, [[0.5, 0.5, 0.5]], special, concepts=(4, 5, 7))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beam_size": 0}, r"beam_size=0 must be in 1\.\.1024"),
        ({"beam_size": 1025}, r"beam_size=1025 must be in 1\.\.1024"),
        ({"num_best": 0}, r"num_best=0 must be in 1\.\.10000"),
        ({"num_best": 10_001}, r"num_best=10001 must be in 1\.\.10000"),
        ({"num_words": -1}, r"num_words=-1 must be in 0\.\.100"),
        ({"num_words": 101}, r"num_words=101 must be in 0\.\.100"),
        ({"num_common": -1}, "num_common=-1 must be at least 0"),
        ({"threshold": 0.0}, r"threshold=0\.0 must be above 0"),
        ({"concepts": [4, 4]}, "token id 4 occurs more than once"),
        ({"max_length": 0}, "max_length=0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        CoveringSearch(**setting)
