"""Constrained beam search against exhaustive search on Markov chains."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import (
    BeamSearch,
    ConstrainedBeamSearch,
    Forbid,
    Gnmt,
    Hypotheses,
    NoRepeatNgrams,
    Reward,
    required_words,
)
from captioning.text import train_bpe, train_byte_bpe, train_words

MANY = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
LIKES_A = {"^": {"a": 0.9, "b": 0.06, "c": 0.04}, **{w: {"$": 0.5, "a": 0.4, "b": 0.06, "c": 0.04} for w in "abc"}}
A, B, C = ((4,),), ((5,),), ((6,),)


def has(tokens, phrase):
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens) - len(phrase) + 1))


def satisfies(tokens, required):
    return all(any(has(tuple(tokens), phrase) for phrase in alternatives) for alternatives in required)


def captions(found, image: int = 0):
    """An image's hypotheses, best first: (tokens, finished, score)."""
    return [
        (tuple(tokens[:length]), finished, score)
        for tokens, length, finished, score in zip(
            found.tokens[image].tolist(),
            found.lengths[image].tolist(),
            found.finished[image].tolist(),
            found.scores[image].tolist(),
            strict=True,
        )
        if length
    ]


def exhaust(chain, image, special, required, *, max_length, n, rank=lambda score, length: score):
    """The n best of all captions that have the required words."""
    tables = chain.tables[image].double().log_softmax(2).tolist()
    allowed = [i for i in range(chain.vocab_size) if i not in (special.pad, special.bos, special.unk)]
    open_, ended = [((), False, 0.0)], []
    for t in range(max_length):
        grown = [
            ((*tokens, i), i == special.eos, score + tables[t][tokens[-1] if tokens else special.bos][i])
            for tokens, _, score in open_
            for i in allowed
        ]
        ended += [h for h in grown if h[1]]
        open_ = [h for h in grown if not h[1]]
    found = [h for h in ended + open_ if satisfies(h[0], required)]
    return sorted(found, key=lambda h: (not h[1], -rank(h[2], len(h[0])) if h[1] else -h[2]))[:n]


PHRASES = st.lists(st.integers(4, 6), min_size=1, max_size=3).map(tuple)
REQUIRED = st.lists(st.lists(PHRASES, min_size=1, max_size=2).map(tuple), max_size=3).map(tuple)


@MANY
@given(
    seed=st.integers(0, 10**6),
    num_words=st.integers(3, 4),
    max_length=st.integers(3, 5),
    required=REQUIRED,
    rule=st.sampled_from([0.0, 1.0, Gnmt(0.7), Reward(1.5), Reward(-1.5)]),
    n=st.integers(1, 4),
)
def test_wide_beams_find_the_best_of_all_captions_with_the_required_words(
    random_chain, special, seed, num_words, max_length, required, rule, n
):
    decoder = random_chain(2, num_words, max_length, seed)
    try:
        search = ConstrainedBeamSearch(
            required=required, beam_size=5**4, max_length=max_length, num_best=n, length_normalization=rule
        )
    except InputError:
        longer = exhaust(decoder, 0, special, required, max_length=max_length, n=n)
        assert not any(finished for _, finished, _ in longer)
        return
    found = search(decoder, decoder.features, special)
    ranks = rule.rank if isinstance(rule, (Gnmt, Reward)) else lambda score, length: score / length**rule
    for image in range(2):
        expected = exhaust(decoder, image, special, required, max_length=max_length, n=n, rank=ranks)
        got = captions(found, image)
        assert [h[:2] for h in got] == [h[:2] for h in expected]
        assert [h[2] for h in got] == pytest.approx([h[2] for h in expected], abs=1e-5)


@MANY
@given(
    seed=st.integers(0, 10**6),
    required=REQUIRED,
    beam_size=st.integers(1, 3),
    max_length=st.integers(6, 12),
    num_images=st.integers(1, 3),
)
def test_narrow_beams_find_every_required_word_too(
    random_chain, special, seed, required, beam_size, max_length, num_images
):
    max_length = max(max_length, 1 + sum(min(map(len, alternatives)) for alternatives in required))
    decoder = random_chain(num_images, 9, max_length, seed)
    search = ConstrainedBeamSearch(
        required=required, beam_size=beam_size, max_length=max_length, num_best=beam_size, length_normalization=1.0
    )
    found = search(decoder, decoder.features, special)
    for image in range(num_images):
        got = captions(found, image)
        assert got
        assert all(satisfies(tokens, required) for tokens, *_ in got)
        alone = search(decoder, decoder.features.rows(torch.tensor([image])), special)
        assert captions(alone) == got
        assert len({tokens for tokens, *_ in got}) == len(got)


class Never(Gnmt):
    """A rule that never lets a search stop early."""

    def bound(self, log_prob, length, max_length):
        return torch.full_like(log_prob, torch.inf)


@MANY
@given(seed=st.integers(0, 10**6), beam_size=st.integers(1, 4), required=REQUIRED, alpha=st.sampled_from([0.0, 1.0]))
def test_stopping_early_changes_nothing(random_chain, special, seed, beam_size, required, alpha):
    decoder = random_chain(4, 7, 10, seed)

    def found(rule):
        search = ConstrainedBeamSearch(
            required=required, beam_size=beam_size, max_length=10, num_best=beam_size, length_normalization=rule
        )
        return search(decoder, decoder.features, special)

    early, late = found(Gnmt(alpha)), found(Never(alpha))
    for image in range(4):
        assert captions(early, image) == captions(late, image)


@pytest.mark.parametrize("options", [{}, {"length_normalization": Gnmt(0.8)}, {"processors": [NoRepeatNgrams(1)]}])
def test_without_required_words_it_is_beam_search(random_chain, special, options):
    for beam_size in (1, 2, 5):
        options = {**options, "beam_size": beam_size, "num_best": beam_size, "max_length": 11}
        decoder = random_chain(7, 9, 11, seed=3)
        expected = BeamSearch(**options)(decoder, decoder.features, special)
        steps, decoder.rows = len(decoder.rows), []
        found = ConstrainedBeamSearch(**options)(decoder, decoder.features, special)
        assert len(decoder.rows) == steps
        for field in fields(Hypotheses):
            torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name))


def test_a_word_that_no_beam_search_would_find_is_there(chain, special, spell):
    decoder = chain(LIKES_A)
    assert spell(BeamSearch(beam_size=2)(decoder, decoder.features, special).tokens[0, 0]) == "a$"
    search = ConstrainedBeamSearch(required=[B, C], beam_size=2)
    found = search(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]).rstrip(".") in ("bc$", "cb$")
    assert found.scores[0, 0].exp().item() == pytest.approx(0.06 * 0.04 * 0.5)


def test_the_better_alternative_is_taken_and_one_word_is_enough(chain, special, spell):
    decoder = chain(LIKES_A)
    found = ConstrainedBeamSearch(required=[((5,), (6,))], num_best=2)(decoder, decoder.features, special)
    assert [spell(tokens).rstrip(".") for tokens in found.tokens[0]] == ["b$", "ab$"]


def test_the_tokens_of_a_phrase_stand_side_by_side(chain, special, spell):
    decoder = chain(LIKES_A)
    found = ConstrainedBeamSearch(required=[((5, 6),)], num_best=1)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]).rstrip(".") == "bc$"


def test_phrases_may_overlap(chain, special, spell):
    decoder = chain(LIKES_A)
    search = ConstrainedBeamSearch(required=[((4, 5),), ((5, 6),)], max_length=4)
    assert spell(search(decoder, decoder.features, special).tokens[0, 0]) == "abc$"


def test_images_that_are_done_leave_the_batch(chain, special):
    late = {"^": {"a": 0.6, "b": 0.4}, "a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"$": 1.0}}
    decoder = chain({"^": {"a": 1.0}, "a": {"$": 1.0}}, late)
    ConstrainedBeamSearch(required=[A], beam_size=2)(decoder, decoder.features, special)
    assert decoder.rows == [2, 3, 2, 1]  # a, and a and b; ab and bc; abc, as bc cannot end


def test_no_caption_is_better_than_one_without_a_required_word(random_chain, special):
    decoder = random_chain(3, 5, 6, seed=3)
    decoder.tables[1, :, :, 5] = -torch.inf  # one image can never have it
    search = ConstrainedBeamSearch(required=[B], max_length=6, num_best=2)
    found = search(decoder, decoder.features, special)
    assert found.lengths[1].tolist() == [0, 0]
    assert found.scores[1].eq(-torch.inf).all()
    assert not found.tokens[1].any()
    assert not found.finished[1].any()
    assert all(5 in tokens for image in (0, 2) for tokens, *_ in captions(found, image))
    forbidden = ConstrainedBeamSearch(required=[B], max_length=6, processors=[Forbid([5])])
    assert not forbidden(decoder, decoder.features, special).lengths.any()


def test_words_are_tokenized_with_and_without_the_space_before_them():
    captions_ = ["a red dog on the grass", "the dogs, and a puppy", "dogs"] * 9
    tokenizers = [train_words(captions_, min_count=1), train_bpe(captions_), train_byte_bpe(captions_, vocab_size=280)]
    for tokenizer in tokenizers:
        required = required_words(["red", ["dog", "a puppy"]], tokenizer)
        for text, expected in (("a red dog", True), ("dog red", True), ("red a puppy", True), ("red dots", False)):
            if tokenizer.special.unk not in (ids := tokenizer.encode([text])[0]):
                assert satisfies(ids, required) == expected
    assert required_words(["red"], tokenizers[0]) == (((tokenizers[0].encode(["red"])[0][1],),),)
    assert len(required_words(["dog"], tokenizers[2])[0]) == 2
    with pytest.raises(InputError, match="required word 'zebra': the vocabulary lacks it"):
        required_words(["red", ["dog", "zebra"]], tokenizers[0])
    with pytest.raises(InputError, match="required word '': the vocabulary lacks it"):
        required_words([""], tokenizers[0])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"required": [A, B, C], "max_length": 3}, "the 3 required words take at least 4 tokens with <eos>, but"),
        ({"required": [((4, 5, 4, 6),)], "max_length": 4}, "take at least 5 tokens"),
        ({"required": [((i,),) for i in range(4, 13)]}, "9 words are required, expected at most 8: .* 2\\^9 subsets"),
        ({"required": [(tuple(range(4, 261)),)], "max_length": 999}, "have 257 tokens, expected at most 256"),
        ({"required": [(tuple(range(i, i + 9)),) for i in range(4, 68, 9)], "max_length": 99}, "more than 512 states"),
        ({"required": [4, 5]}, re.escape("required=[4, 5]: expected a list of alternatives for each word")),
        ({"required": [()]}, "expected a list of alternatives"),
        ({"required": [((),)]}, "expected a list of alternatives"),
        ({"num_best": 6}, r"num_best=6 must be in 1\.\.beam_size=5"),
        ({"beam_size": 1025}, "beam_size=1025 must be at most 1024"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        ConstrainedBeamSearch(**settings_)


@pytest.mark.parametrize("token", [0, 1, 2, 3, 7, -1])
def test_tokens_that_no_caption_contains_are_refused(chain, special, token):
    decoder = chain(LIKES_A)
    with pytest.raises(InputError, match=f"required names the token {token}, which no caption contains"):
        ConstrainedBeamSearch(required=[A, ((token,),)])(decoder, decoder.features, special)
    if token == special.unk:
        ConstrainedBeamSearch(required=[((token,),)], allow_unknown=True)(decoder, decoder.features, special)
