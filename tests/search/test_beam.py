"""Beam search on Markov chains: solved by hand, by exhaustive search, and by a plain search without early stop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch

TRAP = {
    "^": {"a": 0.6, "b": 0.4},
    "a": {"$": 0.4, "a": 0.25, "b": 0.35},
    "b": {"$": 0.9, "a": 0.05, "b": 0.05},
}
# Best captions of TRAP: b$ .36, a$ .24, ab$ .6 .35 .9 = .189, aa$ .06, aab$ .047; a mean log-probability of
# -.511, -.714, -.555, -.938 and -.764.
MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def captions(found, image: int = 0) -> list[tuple[tuple[int, ...], bool, float]]:
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


def assert_same(got, expected):
    assert [(tokens, finished) for tokens, finished, _ in got] == [(t, f) for t, f, _ in expected]
    assert [score for *_, score in got] == pytest.approx([score for *_, score in expected], abs=1e-5)


def continuations(chain, image, special):
    """Map a prefix and its score to all its continuations."""
    tables = chain.tables[image].double().log_softmax(2).tolist()
    allowed = [i for i in range(chain.vocab_size) if i not in (special.pad, special.bos, special.unk)]

    def grow(tokens, score):
        log_probs = tables[len(tokens)][tokens[-1] if tokens else special.bos]
        return [((*tokens, i), i == special.eos, score + log_probs[i]) for i in allowed]

    return grow


def rank(hypothesis, alpha):
    tokens, finished, score = hypothesis
    return not finished, -score / (len(tokens) ** alpha if finished else 1)


def exhaust(chain, image, special, *, max_length, alpha, n):
    """The n best of all captions."""
    grow = continuations(chain, image, special)
    open_, ended = [((), False, 0.0)], []
    for _ in range(max_length):
        grown = [h for tokens, _, score in open_ for h in grow(tokens, score)]
        ended += [h for h in grown if h[1]]
        open_ = [h for h in grown if not h[1]]
    return sorted(ended + open_, key=lambda h: rank(h, alpha))[:n]


def plain_beam(chain, image, special, *, beam_size, max_length, alpha, n):
    """The rule of BeamSearch, one image and one hypothesis at a time, without early stop."""
    grow = continuations(chain, image, special)
    open_, ended = [((), False, 0.0)], []
    for _ in range(max_length):
        grown = [h for tokens, _, score in open_ for h in grow(tokens, score)]
        grown.sort(key=lambda h: -h[2])
        ended += [h for h in grown[:beam_size] if h[1]]
        open_ = [h for h in grown if not h[1]][:beam_size]
    return sorted(ended + open_, key=lambda h: rank(h, alpha))[:n]


def test_a_beam_of_two_finds_what_greedy_misses(chain, special, spell):
    decoder = chain(TRAP)
    found = BeamSearch(beam_size=2)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]) == "b$"
    assert found.token_scores[0, 0].exp().tolist() == pytest.approx([0.4, 0.9])
    assert found.scores[0, 0].exp().item() == pytest.approx(0.36)
    assert found.finished.tolist() == [[True]]


def test_the_n_best_are_in_order(chain, special, spell):
    decoder = chain(TRAP)
    found = BeamSearch(beam_size=5, num_best=4)(decoder, decoder.features, special)
    assert [spell(t).rstrip(".") for t in found.tokens[0]] == ["b$", "a$", "ab$", "aa$"]
    assert found.scores[0].exp().tolist() == pytest.approx([0.36, 0.24, 0.189, 0.06], abs=1e-6)


def test_length_normalization_orders_by_the_mean_and_leaves_the_scores(chain, special, spell):
    decoder = chain(TRAP)
    found = BeamSearch(beam_size=5, num_best=4, length_normalization=1.0)(decoder, decoder.features, special)
    assert [spell(t).rstrip(".") for t in found.tokens[0]] == ["b$", "ab$", "a$", "aab$"]
    assert found.scores[0].exp().tolist() == pytest.approx([0.36, 0.189, 0.24, 0.04725], abs=1e-6)


def test_unfinished_captions_come_after_all_finished_ones(chain, special, spell):
    decoder = chain(TRAP)
    found = BeamSearch(beam_size=4, num_best=4, max_length=2)(decoder, decoder.features, special)
    assert [spell(t) for t in found.tokens[0]] == ["b$", "a$", "ab", "aa"]
    assert found.finished.tolist() == [[True, True, False, False]]
    assert found.scores[0].exp().tolist() == pytest.approx([0.36, 0.24, 0.21, 0.15], abs=1e-6)


def test_a_caption_that_never_ends_is_truncated_and_unfinished(chain, special, spell):
    decoder = chain({"^": {"a": 1.0}, "a": {"a": 0.5, "b": 0.5}, "b": {"b": 1.0}})
    found = BeamSearch(beam_size=3, max_length=4)(decoder, decoder.features, special)
    assert found.lengths.tolist() == [[4]]
    assert found.finished.tolist() == [[False]]
    assert spell(found.tokens[0, 0]) == "abbb"
    assert found.scores.item() == pytest.approx(math.log(0.5))


@MANY
@given(
    seed=st.integers(0, 10**6),
    num_images=st.integers(1, 3),
    num_words=st.integers(1, 3),
    max_length=st.integers(1, 4),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    n=st.integers(1, 6),
)
def test_a_wide_beam_equals_exhaustive_search(random_chain, special, seed, num_images, num_words, max_length, alpha, n):
    # 4^4 covers every prefix; a chain of 3 words has 7 tokens, fewer than 2 K.
    decoder = random_chain(num_images, num_words, max_length, seed)
    search = BeamSearch(beam_size=4**4, max_length=max_length, length_normalization=alpha, num_best=n)
    found = search(decoder, decoder.features, special)
    for image in range(num_images):
        expected = exhaust(decoder, image, special, max_length=max_length, alpha=alpha, n=n)
        assert_same(captions(found, image), expected)


@MANY
@given(
    seed=st.integers(0, 10**6),
    num_images=st.integers(1, 4),
    num_words=st.integers(1, 9),
    beam_size=st.integers(1, 5),
    max_length=st.integers(1, 7),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    data=st.data(),
)
def test_stopping_early_changes_nothing(
    random_chain, special, seed, num_images, num_words, beam_size, max_length, alpha, data
):
    n = data.draw(st.integers(1, beam_size))
    decoder = random_chain(num_images, num_words, max_length, seed)
    search = BeamSearch(beam_size=beam_size, max_length=max_length, length_normalization=alpha, num_best=n)
    found = search(decoder, decoder.features, special)
    for image in range(num_images):
        settled = plain_beam(decoder, image, special, beam_size=beam_size, max_length=max_length, alpha=alpha, n=n)
        assert_same(captions(found, image), settled)


def test_an_image_leaves_the_batch_when_nothing_can_displace_its_best(chain, special, spell):
    # After one step "$" has .9 and no prefix more than .1. TRAP's b$ has .36 after two, and ab .21 is open.
    # The last image's bc$ has .4 after three, but abc has .6 and is open.
    at_once = {"^": {"$": 0.9, "a": 0.1}}
    late = {"^": {"a": 0.6, "b": 0.4}, "a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"$": 1.0}}
    decoder = chain(TRAP, at_once, late)
    found = BeamSearch(beam_size=2)(decoder, decoder.features, special)
    assert [spell(t).rstrip(".") for t in found.tokens[:, 0]] == ["b$", "$", "abc$"]
    assert decoder.rows == [3, 4, 2, 2]  # 3 images; 2 images of 2 beams; 1 image of 2 beams, twice
    assert found.tokens.shape == (3, 1, 4)


def test_an_image_stays_longer_if_more_hypotheses_are_wanted(chain, special):
    at_once = {"^": {"$": 0.9, "a": 0.1}, "a": {"$": 1.0}}
    for n, steps in ((1, 1), (2, 2)):
        decoder = chain(at_once)
        BeamSearch(beam_size=2, num_best=n)(decoder, decoder.features, special)
        assert len(decoder.rows) == steps


def test_with_length_normalization_an_image_stays_while_a_longer_caption_may_win(chain, special, spell):
    # "$" has log .5 = -.69; "a$" has log .4 = -.92 and a mean of -.46: better, though less probable.
    decoder = chain({"^": {"$": 0.5, "a": 0.4, "b": 0.1}, "a": {"$": 1.0}})
    found = BeamSearch(beam_size=2, length_normalization=1.0)(decoder, decoder.features, special)
    assert spell(found.tokens[0, 0]).rstrip(".") == "a$"


def test_fewer_captions_than_wanted_leave_the_rest_empty(chain, special, spell):
    decoder = chain({"^": {"a": 1.0}, "a": {"$": 1.0}})
    found = BeamSearch(beam_size=3, num_best=3, max_length=5)(decoder, decoder.features, special)
    assert [spell(t) for t in found.tokens[0]] == ["a$", "..", ".."]
    assert found.lengths.tolist() == [[2, 0, 0]]
    assert found.scores.tolist() == [[0.0, -torch.inf, -torch.inf]]
    assert found.finished.tolist() == [[True, False, False]]


def test_dead_beams_are_not_captions_and_do_not_change_other_images(chain, special, spell):
    def nothing_after_a(step, tokens, log_probs):
        return log_probs if step == 0 else log_probs.masked_fill(tokens[:, -1:] == 4, -torch.inf)

    only_a = {"^": {"a": 1.0}}
    decoder = chain(only_a, TRAP, only_a)
    search = BeamSearch(beam_size=2, num_best=2, processors=[nothing_after_a], max_length=9)
    found = search(decoder, decoder.features, special)
    assert found.lengths.tolist() == [[0, 0], [2, 3], [0, 0]]
    assert [spell(t).rstrip(".") for t in found.tokens[1]] == ["b$", "bb$"]
    assert found.scores[::2].eq(-torch.inf).all()
    assert found.tokens[::2].eq(special.pad).all()
    assert not found.finished[::2].any()
    assert not found.scores.isnan().any()


def test_equal_captions_are_all_kept_once(chain, special, spell):
    third = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    decoder = chain({"^": third, "a": {"$": 1.0}, "b": {"$": 1.0}, "c": {"$": 1.0}})
    search = BeamSearch(beam_size=3, num_best=3)
    found = search(decoder, decoder.features, special)
    assert sorted(spell(t) for t in found.tokens[0]) == ["a$", "b$", "c$"]
    assert found.scores[0].exp().tolist() == pytest.approx([1 / 3] * 3)
    assert found.tokens.equal(search(decoder, decoder.features, special).tokens)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"beam_size": 3, "num_best": 4}, r"num_best=4 must be in 1\.\.beam_size=3"),
        ({"num_best": 0}, r"num_best=0 must be in 1\.\.beam_size=5"),
        ({"beam_size": 0}, r"num_best=1 must be in 1\.\.beam_size=0"),
        ({"max_length": 0}, "max_length=0 must be at least 1"),
        ({"length_normalization": -1.0}, r"length_normalization=-1\.0 must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        BeamSearch(**settings_)
