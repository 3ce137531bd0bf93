"""Stochastic beam search on Markov chains whose samples without replacement are enumerated."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search import Forbid, GreedySearch, StochasticBeamSearch
from captioning.search.stochastic import conditional_gumbel, log1mexp

MANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
# "$" .1, "a$" .6 .5 = .3, "ab$" .6 .5 = .3, "b$" .3; another one with rare captions and a truncated one.
TREE = {"^": {"a": 0.6, "b": 0.3, "$": 0.1}, "a": {"$": 0.5, "b": 0.5}, "b": {"$": 1.0}}
SKEWED = {
    "^": {"a": 0.7, "b": 0.25, "$": 0.05},
    "a": {"$": 0.8, "a": 0.15, "c": 0.05},
    "b": {"$": 1.0},
    "c": {"$": 1.0},
}
NUM = 4000


def of_one_image(decoder):
    """A decoder that uses the chain of its first image for every image."""
    start = decoder.start
    decoder.start = lambda features: start(ImageFeatures(torch.zeros(len(features), 1, dtype=torch.int64)))
    return decoder


def apart(num_images: int) -> ImageFeatures:
    """Features whose images are distinguished."""
    random = torch.Generator().manual_seed(5)
    return ImageFeatures(torch.rand(num_images, 17, generator=random))


def captions_of(transitions, max_length, temperature=1.0):
    """The probability of every caption, truncated ones too."""
    found, open_ = {}, {"": 1.0}
    for _ in range(max_length):
        grown = {}
        for prefix, p in open_.items():
            following = {w: q ** (1 / temperature) for w, q in transitions[prefix[-1:] or "^"].items()}
            for word, q in following.items():
                grown[prefix + word] = p * q / sum(following.values())
        found |= {caption: p for caption, p in grown.items() if caption[-1] == "$"}
        open_ = {caption: p for caption, p in grown.items() if caption[-1] != "$"}
    return found | open_


def without_replacement(probabilities, n):
    """The probability of each set of n captions that are drawn one after the other."""
    sets = Counter()
    for order in permutations(probabilities, n):
        p, left = 1.0, 1.0
        for caption in order:
            p *= probabilities[caption] / left
            left -= probabilities[caption]
        sets[frozenset(order)] += p
    return sets


def drawn_sets(found, spell):
    return Counter(frozenset(spell(tokens).rstrip(".") for tokens in own) for own in found.tokens)


def chi_square(counts, probabilities):
    """The statistic and its degrees of freedom; cells below 5 are one."""
    total = sum(counts.values())
    cells = [(counts[key], p * total) for key, p in probabilities.items() if p * total >= 5]
    rest = [(counts[key], p * total) for key, p in probabilities.items() if p * total < 5]
    cells += [tuple(map(sum, zip(*rest, strict=True)))] if rest else []
    return sum((n - e) ** 2 / e for n, e in cells), len(cells) - 1


@pytest.mark.parametrize("transitions", [TREE, SKEWED], ids=["tree", "skewed"])
@pytest.mark.parametrize(("n", "temperature"), [(1, 1.0), (2, 1.0), (3, 1.0), (2, 0.5), (2, 2.0)])
def test_sets_are_drawn_as_often_as_without_replacement(chain, special, spell, transitions, n, temperature):
    decoder = of_one_image(chain(transitions))
    search = StochasticBeamSearch(num_samples=n, max_length=3, temperature=temperature)
    counts = drawn_sets(search(decoder, apart(NUM), special), spell)
    expected = without_replacement(captions_of(transitions, 3, temperature), n)
    assert set(counts) <= set(expected)
    statistic, degrees = chi_square(counts, expected)
    assert statistic < degrees + 4 * math.sqrt(2 * degrees)  # mean and four standard deviations


def test_a_sample_with_replacement_would_be_found_out(chain, special, spell):
    expected = without_replacement(captions_of(TREE, 3), 2)
    wrong = without_replacement(dict.fromkeys(captions_of(TREE, 3), 1.0 / 4), 2)
    counts = {key: round(NUM * p) for key, p in wrong.items()}
    statistic, degrees = chi_square(counts, expected)
    assert statistic > degrees + 4 * math.sqrt(2 * degrees)


@MANY
@given(seed=st.integers(0, 10**6), num_words=st.integers(1, 5), n=st.integers(1, 9), max_length=st.integers(1, 6))
def test_captions_of_an_image_differ_and_have_the_decoder_s_scores(
    random_chain, special, seed, num_words, n, max_length
):
    decoder = random_chain(3, num_words, max_length, seed)
    found = StochasticBeamSearch(num_samples=n, seed=seed, max_length=max_length)(decoder, decoder.features, special)
    tables = decoder.tables.log_softmax(3)
    for image in range(3):
        real = found.lengths[image] > 0
        assert len(found.tokens[image, real].unique(dim=0)) == real.sum()
        assert found.scores[image, ~real].eq(-torch.inf).all()
        for tokens, length, scores in zip(
            found.tokens[image], found.lengths[image].tolist(), found.token_scores[image], strict=True
        ):
            before = torch.cat([torch.tensor([special.bos]), tokens])
            steps = [tables[image, t, before[t], tokens[t]].item() for t in range(length)]
            assert scores[:length].tolist() == pytest.approx(steps, abs=1e-5)
            assert not scores[length:].any()


def test_all_captions_are_found_if_there_are_so_few_and_the_rest_are_empty(chain, special, spell):
    decoder = chain(TREE)
    found = StochasticBeamSearch(num_samples=7, max_length=5)(decoder, decoder.features, special)
    captions = [spell(tokens).rstrip(".") for tokens in found.tokens[0]]
    assert set(captions[:4]) == {"a$", "ab$", "b$", "$"}
    assert captions[3:] == ["$", "", "", ""]
    assert found.lengths[0, 4:].eq(0).all()
    assert found.scores[0].exp().tolist() == pytest.approx([0.3, 0.3, 0.3, 0.1, 0, 0, 0])
    assert found.finished[0].tolist() == [True] * 4 + [False] * 3


def test_captions_that_have_ended_leave_the_batch(chain, special):
    late = {"^": {"a": 1.0}, "a": {"b": 1.0}, "b": {"$": 1.0}}
    decoder = chain({"^": {"$": 1.0}}, late)
    StochasticBeamSearch(num_samples=3)(decoder, decoder.features, special)
    assert decoder.rows == [2, 1, 1]


def test_a_dead_end_is_not_a_caption(chain, special):
    decoder = chain({"^": {"a": 0.5, "b": 0.5}, "a": {"$": 1.0}, "b": {"$": 1.0}}, {"^": {"a": 1.0}})
    found = StochasticBeamSearch(processors=[Forbid([4, special.eos])])(decoder, decoder.features, special)
    assert not found.scores.isnan().any()
    assert not found.lengths[1].any()
    found = StochasticBeamSearch(num_samples=3, processors=[Forbid([4])])(decoder, decoder.features, special)
    assert found.lengths[0].tolist() == [2, 0, 0]


def test_the_seed_decides_and_an_image_s_captions_do_not_depend_on_its_batch(random_chain, special):
    decoder = of_one_image(random_chain(1, 97, 11, seed=3))
    search, features, order = StochasticBeamSearch(num_samples=3, max_length=11), apart(5), torch.tensor([3, 3, 0])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = search(decoder, features, special).tokens
    assert torch.get_rng_state().equal(before)
    assert len(found.flatten(0, 1).unique(dim=0)) == 5 * 3
    rounded = ImageFeatures(features.pooled[order] * (1 + 1e-6) - 1e-6)
    again = search(decoder, rounded, special).tokens
    steps = min(again.shape[2], found.shape[2])
    assert again[..., :steps].equal(found[order][..., :steps])
    other = StochasticBeamSearch(num_samples=3, max_length=11, seed=2)(decoder, features, special).tokens
    assert other.shape != found.shape or not other.equal(found)


def test_a_temperature_near_zero_is_greedy(random_chain, special):
    decoder = random_chain(5, 7, 11, seed=3)
    greedy = GreedySearch(max_length=11)(decoder, decoder.features, special)
    search = StochasticBeamSearch(max_length=11, num_samples=1, temperature=1e-9)
    found = search(decoder, decoder.features, special)
    assert found.tokens.equal(greedy.tokens)
    assert_close(found.scores, greedy.scores)


@given(
    phi=st.lists(st.floats(-60, 0), min_size=1, max_size=9),
    largest=st.floats(-50, 50),
    seed=st.integers(0, 10**6),
)
def test_the_largest_conditional_gumbel_is_the_given_one_and_their_order_is_kept(phi, largest, seed):
    location = torch.tensor([[*phi, -torch.inf]], dtype=torch.float64)
    random = torch.Generator().manual_seed(seed)
    gumbel = -(-torch.rand(location.shape, generator=random, dtype=torch.float64).log()).log()
    drawn = conditional_gumbel(location, gumbel, torch.tensor([[largest]], dtype=torch.float64))
    assert drawn.max().item() == pytest.approx(largest, abs=1e-9)
    assert not drawn.isnan().any()
    assert drawn[0, -1] == -torch.inf
    order = (location + gumbel)[0].argsort(stable=True)
    assert drawn[0, order].diff()[1:].ge(-1e-9).all()


def test_conditional_gumbels_are_those_of_the_truncated_distribution():
    # F(g) = exp(-exp(φ - g)) / exp(-exp(φ - G)) below G, appendix B: compare with the naive formula.
    phi = torch.tensor([[-1.0, -0.5, -3.0]], dtype=torch.float64)
    gumbel = torch.tensor([[0.3, 1.2, -0.4]], dtype=torch.float64)
    largest = 0.7
    z = (phi + gumbel).max()
    naive = -torch.log(math.exp(-largest) - torch.exp(-z) + torch.exp(-(phi + gumbel)))
    assert_close(conditional_gumbel(phi, gumbel, torch.tensor([[largest]], dtype=torch.float64)), naive)


def test_log1mexp_is_accurate_near_zero_and_far_from_it():
    x = torch.tensor([-1e-12, -0.1, -1.0, -50.0, -torch.inf, 0.0], dtype=torch.float64)
    expected = [math.log(1e-12), math.log(-math.expm1(-0.1)), math.log1p(-math.exp(-1)), -math.exp(-50), 0.0, -math.inf]
    assert log1mexp(x).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"temperature": 0.0}, r"temperature=0\.0 must be a number above 0"),
        ({"temperature": math.nan}, "temperature=nan must be a number above 0"),
        ({"num_samples": 0}, r"num_samples=0 must be in 1\.\.1024"),
        ({"num_samples": 1025}, r"num_samples=1025 must be in 1\.\.1024"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"seed": 2**63}, "must be at least 0 and at most"),
    ],
)
def test_settings_out_of_range_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        StochasticBeamSearch(**settings_)
