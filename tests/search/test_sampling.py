"""Sampling on Markov chains whose captions' probabilities are known."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search import GreedySearch, Sampling

WORDS = ".^$?abc"
# "$" .1, "a$" .6 .5 = .3, "ab$" .6 .5 = .3, "b$" .3
TREE = {"^": {"a": 0.6, "b": 0.3, "$": 0.1}, "a": {"$": 0.5, "b": 0.5}, "b": {"$": 1.0}}
ONE_WORD = {"^": {"a": 0.5, "b": 0.3, "c": 0.15, "$": 0.05}, **{word: {"$": 1.0} for word in "abc"}}
NUM = 4000


def shares(found, spell, image: int = 0) -> dict[str, float]:
    """How often each caption of an image was drawn."""
    counts = Counter(spell(tokens).rstrip(".") for tokens in found.tokens[image])
    return {caption: count / len(found.tokens[image]) for caption, count in counts.items()}


def assert_near(got: dict[str, float], expected: dict[str, float]) -> None:
    """Within 3.5 standard deviations of a share of NUM independent draws, and nothing else is drawn."""
    assert set(got) == set(expected)
    for caption, p in expected.items():
        assert got[caption] == pytest.approx(p, abs=3.5 * math.sqrt(p * (1 - p) / NUM)), caption


def powers(probabilities: dict[str, float], temperature: float) -> dict[str, float]:
    """p^(1/τ), with a sum of 1."""
    raised = {word: p ** (1 / temperature) for word, p in probabilities.items()}
    return {word: p / sum(raised.values()) for word, p in raised.items()}


def apart(num_images: int) -> ImageFeatures:
    """Features whose images are distinguished."""
    random = torch.Generator().manual_seed(5)
    return ImageFeatures(torch.rand(num_images, 17, generator=random))


def of_one_image(decoder):
    """A decoder that uses the chain of its first image for every image."""
    start = decoder.start
    decoder.start = lambda features: start(ImageFeatures(torch.zeros(len(features), 1, dtype=torch.int64)))
    return decoder


@pytest.mark.parametrize("seed", [1, 2])
def test_captions_are_drawn_as_often_as_they_are_probable(chain, special, spell, seed):
    decoder = chain(TREE)
    found = Sampling(num_samples=NUM, seed=seed)(decoder, decoder.features, special)
    assert_near(shares(found, spell), {"$": 0.1, "a$": 0.3, "ab$": 0.3, "b$": 0.3})


def test_samples_of_different_images_are_independent(chain, special, spell):
    # One draw of each of many images: their first and second words are spread as those of one image's draws.
    decoder = of_one_image(chain(TREE))
    found = Sampling()(decoder, apart(NUM), special)
    counts = Counter(spell(tokens).rstrip(".") for tokens in found.tokens[:, 0])
    assert_near({c: n / NUM for c, n in counts.items()}, {"$": 0.1, "a$": 0.3, "ab$": 0.3, "b$": 0.3})


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_an_exponent_and_scores_stay_the_decoder_s(chain, special, spell, temperature):
    decoder = chain(ONE_WORD)
    found = Sampling(num_samples=NUM, temperature=temperature)(decoder, decoder.features, special)
    first = {f"{word}$".replace("$$", "$"): p for word, p in powers(ONE_WORD["^"], temperature).items()}
    assert_near(shares(found, spell), first)
    assert_scores_are_the_chain_s(found, spell)


def assert_scores_are_the_chain_s(found, spell):
    for tokens, score in zip(found.tokens[0], found.scores[0].exp().tolist(), strict=True):
        assert score == pytest.approx(ONE_WORD["^"][spell(tokens)[0]], abs=1e-6)


@pytest.mark.parametrize(
    ("head", "left"),
    [
        ({"top_k": 1}, "a"),
        ({"top_k": 3}, "abc"),
        ({"top_k": 99}, "abc$"),
        ({"top_p": 0.4}, "a"),  # a has .5: the first is always kept
        ({"top_p": 0.51}, "ab"),
        ({"top_p": 0.79}, "ab"),
        ({"top_p": 0.81}, "abc"),
        ({"top_p": 1.0}, "abc$"),
        ({"top_k": 2, "top_p": 0.6}, "a"),  # .5 of the .8 that are left is .625
        ({"top_k": 2, "top_p": 0.63}, "ab"),
        ({"min_p": 0.59}, "ab"),  # b has .6 of a's probability
        ({"min_p": 0.61}, "a"),
        ({"min_p": 1.0}, "a"),
        ({"typical_p": 0.2}, "b"),  # the entropy is 1.14, and -log p of a, b, c, $ is .69, 1.2, 1.9, 3
        ({"typical_p": 0.5}, "ba"),
        ({"typical_p": 0.81}, "bac"),
        ({"typical_p": 1.0}, "abc$"),
        ({"top_k": 2, "typical_p": 0.3}, "a"),  # of .625 and .375 the entropy is .66, and -log p is .47 and .98
    ],
)
def test_only_the_tokens_of_the_filters_are_drawn(chain, special, spell, head, left):
    decoder = chain(ONE_WORD)
    found = Sampling(num_samples=NUM, **head)(decoder, decoder.features, special)
    total = sum(ONE_WORD["^"][word] for word in left)
    expected = {f"{word}$".replace("$$", "$"): ONE_WORD["^"][word] / total for word in left}
    assert_near(shares(found, spell), expected)
    assert_scores_are_the_chain_s(found, spell)


def test_the_nucleus_is_taken_after_the_temperature(chain, special, spell):
    # With τ = 1/2 the words have .25, .09, .0225 and .0025 of .365: a alone .685, a and b .93.
    decoder = chain(ONE_WORD)
    found = Sampling(num_samples=NUM, temperature=0.5, top_p=0.9)(decoder, decoder.features, special)
    assert_near(shares(found, spell), {"a$": 0.25 / 0.34, "b$": 0.09 / 0.34})


def test_of_equally_probable_words_k_are_kept(chain, special):
    decoder = chain({"^": dict.fromkeys("abc", 1 / 3), **{word: {"$": 1.0} for word in "abc"}})
    found = Sampling(num_samples=NUM, top_k=2)(decoder, decoder.features, special)
    assert len(found.tokens[0, :, 0].unique()) == 2


@pytest.mark.parametrize(
    "settings", [{"top_k": 1}, {"temperature": 1e-9}, {"temperature": 5e-324}, {"top_p": 1e-9}, {"min_p": 1.0}]
)
def test_sampling_without_chance_is_greedy(random_chain, special, settings):
    decoder = random_chain(5, 7, 11, seed=3)
    greedy = GreedySearch(max_length=11)(decoder, decoder.features, special)
    found = Sampling(max_length=11, num_samples=2, **settings)(decoder, decoder.features, special)
    assert found.tokens.equal(greedy.tokens.expand(-1, 2, -1))
    assert_close(found.scores, greedy.scores.expand(-1, 2))


def test_padding_begin_and_unknown_are_never_drawn_and_unknown_may_be_allowed(chain, special, spell):
    likely = {".": 0.3, "^": 0.3, "?": 0.3, "a": 0.06, "$": 0.04}
    decoder = chain(dict.fromkeys(WORDS, likely))
    for allowed, first in ((False, {"a": 0.6, "$": 0.4}), (True, {"a": 0.15, "$": 0.1, "?": 0.75})):
        search = Sampling(num_samples=NUM, max_length=1, allow_unknown=allowed)
        found = search(decoder, decoder.features, special)
        assert_near(shares(found, spell), first)
        for tokens, score in zip(found.tokens[0], found.scores[0].exp().tolist(), strict=True):
            assert score == pytest.approx(likely[spell(tokens)], abs=1e-6)


def test_a_caption_that_never_ends_is_truncated_and_comes_after_those_that_ended(chain, special, spell):
    again = {"a": 0.9, "$": 0.1}
    decoder = chain({"^": again, "a": again})
    found = Sampling(num_samples=500, max_length=3)(decoder, decoder.features, special)
    assert set(shares(found, spell)) == {"$", "a$", "aa$", "aaa"}
    assert found.lengths[~found.finished].eq(3).all()
    num_finished = int(found.finished.sum())
    assert found.finished[0, :num_finished].all()
    assert found.scores[0, :num_finished].diff().le(0).all()
    assert found.scores[0, num_finished].exp().item() == pytest.approx(0.9**3)  # above all finished ones


def test_captions_that_have_ended_leave_the_batch(chain, special):
    decoder = chain({"^": {"$": 1.0}}, {"^": {"a": 1.0}, "a": {"b": 1.0}, "b": {"$": 1.0}})
    Sampling(num_samples=3)(decoder, decoder.features, special)
    assert decoder.rows == [6, 3, 3]


def test_a_dead_end_is_not_a_caption(chain, special, spell):
    def nothing_after_a(step, tokens, log_probs):
        return log_probs if step == 0 else log_probs.masked_fill(tokens[:, -1:] == 4, -torch.inf)

    decoder = chain(ONE_WORD)
    found = Sampling(num_samples=NUM, processors=[nothing_after_a])(decoder, decoder.features, special)
    assert_near(shares(found, spell), {"": 0.5, "b$": 0.3, "c$": 0.15, "$": 0.05})
    none = found.lengths[0] == 0
    assert found.scores[0].eq(-torch.inf).equal(none)
    assert not found.token_scores[0, none].any()
    assert not found.finished[0, none].any()
    assert none.int().diff().ge(0).all()  # after all others
    assert not found.scores.isnan().any()


def test_the_seed_decides_the_samples_and_torch_s_generator_is_not_used(random_chain, special):
    decoder = random_chain(3, 7, 11, seed=3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Sampling(max_length=11, seed=5)(decoder, decoder.features, special).tokens
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    assert Sampling(max_length=11, seed=5)(decoder, decoder.features, special).tokens.equal(first)
    assert not Sampling(max_length=11, seed=6)(decoder, decoder.features, special).tokens.equal(first)


def test_an_image_s_samples_do_not_depend_on_its_batch_nor_on_rounding(random_chain, special):
    decoder = of_one_image(random_chain(1, 97, 11, seed=3))
    search, features, order = Sampling(num_samples=3, max_length=11), apart(5), torch.tensor([3, 3, 0])
    samples = search(decoder, features, special).tokens
    assert len(samples.flatten(0, 1).unique(dim=0)) == 5 * 3  # none of another image, nor of another draw
    rounded = ImageFeatures(features.pooled[order] * (1 + 1e-6) - 1e-6)
    assert search(decoder, rounded, special).tokens.equal(samples[order])
    fewer = ImageFeatures(features.pooled[:1])
    assert search(decoder, fewer, special).tokens.equal(samples[:1])


def test_a_hot_temperature_makes_all_allowed_words_equally_probable(chain, special, spell):
    decoder = chain(ONE_WORD)
    found = Sampling(num_samples=NUM, temperature=1e300)(decoder, decoder.features, special)
    assert_near(shares(found, spell), {"a$": 0.25, "b$": 0.25, "c$": 0.25, "$": 0.25})


def test_a_sample_does_not_depend_on_when_the_image_s_other_samples_end(random_chain, special):
    decoder = random_chain(1, 7, 30, seed=3)
    search = Sampling(num_samples=20, max_length=30)
    found = search(decoder, decoder.features, special)
    assert len(found.lengths.unique()) > 5

    def as_first(step, tokens, log_probs):
        """Let all hypotheses end after two words, but those that begin as the first sample."""
        first = found.tokens[0, 0, :step]
        return log_probs if step < 2 else log_probs.where((tokens == first).all(1, True), ended)

    ended = torch.full((11,), -torch.inf).index_fill(0, torch.tensor([special.eos]), 0.0)
    fewer = replace(search, processors=[as_first])(decoder, decoder.features, special)
    length = found.lengths[0, 0]
    assert any(found.tokens[0, 0, :length].equal(tokens[:length]) for tokens in fewer.tokens[0])


def test_images_with_equal_features_get_the_same_samples(random_chain, special):
    decoder = of_one_image(random_chain(1, 7, 11, seed=3))
    samples = Sampling(num_samples=2, max_length=11)(decoder, ImageFeatures(torch.zeros(3, 1)), special).tokens
    assert samples.equal(samples[:1].expand(3, -1, -1))
    assert not samples[0, 0].equal(samples[0, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature=0 leaves nothing to chance; use greedy search"),
        ({"temperature": -1.0}, r"temperature=-1\.0 must be a number above 0"),
        ({"temperature": math.nan}, "temperature=nan must be a number above 0"),
        ({"temperature": math.inf}, "temperature=inf must be a number above 0"),
        ({"top_p": 0.0}, r"top_p=0\.0 must be above 0 and at most 1"),
        ({"top_p": 1.1}, r"top_p=1\.1 must be above 0 and at most 1"),
        ({"min_p": 0.0}, r"min_p=0\.0 must be above 0 and at most 1"),
        ({"typical_p": 1.1}, r"typical_p=1\.1 must be above 0 and at most 1"),
        ({"typical_p": 0.5, "top_p": 0.5}, "found top_p and typical_p, expected one of top_p, min_p, typical_p"),
        ({"top_k": 0}, "top_k=0 must be at least 1"),
        ({"num_samples": 0}, "num_samples=0 must be at least 1"),
        ({"max_length": 0}, "max_length=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)
