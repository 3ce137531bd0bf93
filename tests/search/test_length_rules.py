"""Length rules by their equations, and beam search under each of them against exhaustive search."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch, Gnmt, LengthRule, Power, Reward
from captioning.search.length_rules import as_rule

MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
RULES = [
    Power(0.0), Power(0.5), Power(1.0), Power(2.0), Gnmt(0.0), Gnmt(0.6), Gnmt(3.0),
    Reward(0.0), Reward(0.7), Reward(4.0), Reward(-0.7), Reward(-4.0),
]  # fmt: skip
FORMULAS = {
    Power: lambda rule, log_prob, length: log_prob / length**rule.alpha,
    Gnmt: lambda rule, log_prob, length: log_prob / ((5 + length) ** rule.alpha / (5 + 1) ** rule.alpha),
    Reward: lambda rule, log_prob, length: log_prob + rule.per_word * (length - 1),
}


def rank(rule: LengthRule, log_prob: float, length: int) -> float:
    """The paper's formula, in float64."""
    return FORMULAS[type(rule)](rule, log_prob, length)


def every_caption(chain, image, special, max_length):
    """All captions of an image, and all prefixes of `max_length` tokens: (tokens, finished, log-probability)."""
    tables = chain.tables[image].double().log_softmax(2).tolist()
    allowed = [i for i in range(chain.vocab_size) if i not in (special.pad, special.bos, special.unk)]
    ended, open_ = [], [((), 0.0)]
    for t in range(max_length):
        grown = [
            ((*tokens, i), score + tables[t][tokens[-1] if tokens else special.bos][i])
            for tokens, score in open_
            for i in allowed
        ]
        ended += [(tokens, True, score) for tokens, score in grown if tokens[-1] == special.eos]
        open_ = [(tokens, score) for tokens, score in grown if tokens[-1] != special.eos]
    return ended + [(tokens, False, score) for tokens, score in open_]


def in_order(captions, rule):
    return sorted(captions, key=lambda c: (not c[1], -(rank(rule, c[2], len(c[0])) if c[1] else c[2])))


def hypotheses(found, image):
    return [
        tuple(tokens[:length])
        for tokens, length in zip(found.tokens[image].tolist(), found.lengths[image].tolist(), strict=True)
        if length
    ]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_ranks_are_those_of_the_formula_for_one_length_and_for_many(rule):
    log_probs = torch.tensor([-0.3, -2.0, -17.0], dtype=torch.float64)
    for length in (1, 2, 7):
        expected = [rank(rule, x, length) for x in log_probs.tolist()]
        assert rule.rank(log_probs, length).tolist() == pytest.approx(expected)
        assert rule.rank(log_probs, torch.full((3,), length)).tolist() == pytest.approx(expected)


def test_gnmt_s_penalty_is_one_for_one_token_and_the_square_root_of_two_for_seven():
    ranks = Gnmt(0.5).rank(torch.tensor([-6.0, -6.0], dtype=torch.float64), torch.tensor([1, 7]))
    assert ranks.tolist() == pytest.approx([-6.0, -6 / math.sqrt(2)])


@given(
    rule=st.one_of(
        st.builds(Power, st.floats(0, 10)), st.builds(Gnmt, st.floats(0, 10)), st.builds(Reward, st.floats(-9, 9))
    ),
    log_prob=st.floats(-50, 0),
    fall=st.floats(0, 50),
    max_length=st.integers(2, 40),
    data=st.data(),
)
def test_no_continuation_exceeds_the_bound(rule, log_prob, fall, max_length, data):
    prefix = data.draw(st.integers(1, max_length - 1))
    length = data.draw(st.integers(prefix + 1, max_length))
    bound = rule.bound(torch.tensor([log_prob]), prefix, max_length)
    assert rule.rank(torch.tensor([log_prob]) - fall, length) <= bound


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_bound_is_reached_by_some_continuation_that_costs_nothing(rule):
    bound = rule.bound(torch.tensor([-2.0]), 3, 9)
    reached = max(rule.rank(torch.tensor([-2.0]), length) for length in range(4, 10))
    torch.testing.assert_close(reached, bound)


@MANY
@given(
    rule=st.sampled_from(RULES),
    seed=st.integers(0, 10**6),
    num_images=st.integers(1, 3),
    num_words=st.integers(1, 3),
    max_length=st.integers(1, 4),
    n=st.integers(1, 6),
)
def test_a_wide_beam_finds_the_best_of_all_captions(
    random_chain, special, rule, seed, num_images, num_words, max_length, n
):
    decoder = random_chain(num_images, num_words, max_length, seed)
    search = BeamSearch(beam_size=4**4, max_length=max_length, length_normalization=rule, num_best=n)
    found = search(decoder, decoder.features, special)
    for image in range(num_images):
        expected = in_order(every_caption(decoder, image, special, max_length), rule)[:n]
        assert hypotheses(found, image) == [tokens for tokens, *_ in expected]
        scores = found.scores[image, : len(expected)].tolist()
        assert scores == pytest.approx([score for *_, score in expected], abs=1e-5)


class Never(LengthRule):
    """A rule that never lets a search stop early."""

    def __init__(self, rule: LengthRule) -> None:
        self.rule = rule

    def rank(self, log_prob, length):
        return self.rule.rank(log_prob, length)

    def bound(self, log_prob, length, max_length):
        return torch.full_like(log_prob, torch.inf)


@MANY
@given(
    rule=st.sampled_from(RULES),
    seed=st.integers(0, 10**6),
    num_words=st.integers(1, 9),
    beam_size=st.integers(1, 5),
    max_length=st.integers(1, 7),
    data=st.data(),
)
def test_stopping_early_changes_nothing(random_chain, special, rule, seed, num_words, beam_size, max_length, data):
    n = data.draw(st.integers(1, beam_size))
    decoder = random_chain(4, num_words, max_length, seed)

    def found(length_normalization):
        search = BeamSearch(
            beam_size=beam_size, max_length=max_length, num_best=n, length_normalization=length_normalization
        )
        return search(decoder, decoder.features, special)

    early, late = found(rule), found(Never(rule))
    for image in range(4):
        assert hypotheses(early, image) == hypotheses(late, image)


def test_a_number_is_the_power_of_the_length(random_chain, special):
    decoder = random_chain(5, 7, 11, seed=3)
    for alpha in (0, 0.7, 1.0):
        settings = {"beam_size": 4, "num_best": 4, "max_length": 11}
        number = BeamSearch(**settings, length_normalization=alpha)(decoder, decoder.features, special)
        rule = BeamSearch(**settings, length_normalization=Power(alpha))(decoder, decoder.features, special)
        assert number.tokens.equal(rule.tokens)
        assert number.scores.equal(rule.scores)
    assert as_rule(1) == Power(1)


def test_a_larger_reward_gives_longer_captions_and_a_negative_one_shorter(random_chain, special):
    decoder = random_chain(5, 7, 11, seed=3)
    lengths = [
        BeamSearch(max_length=11, beam_size=40, length_normalization=Reward(gamma))(
            decoder, decoder.features, special
        ).lengths.sum()
        for gamma in (-9.0, 0.0, 1.0, 9.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] == 5 < lengths[1] < lengths[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Power(-0.1), r"alpha=-0\.1 must be at least 0"),
        (lambda: Power(10.5), r"alpha=10\.5 must be at most 10"),
        (lambda: Gnmt(math.nan), "alpha=nan must be at most 10"),
        (lambda: Reward(math.inf), r"per_word=inf must be in -1000\.\.1000"),
        (lambda: Reward(math.nan), "per_word=nan must be in"),
        (lambda: BeamSearch(length_normalization=math.inf), "length_normalization=inf must be at most 10"),
        (lambda: BeamSearch(length_normalization="gnmt"), "length_normalization=gnmt: expected a number, or a rule"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
