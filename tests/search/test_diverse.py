"""Diverse beam search against a plain one on Markov chains, and what makes it diverse."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch, DiverseBeamSearch, Gnmt, Hypotheses, NoRepeatNgrams

MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain(chain, image, special, *, beam_size, num_groups, diversity, max_length, alpha, n):
    """The rule of the docstring, one prefix at a time, without early stop: (tokens, finished, log-probability)."""
    tables = chain.tables[image].double().log_softmax(2).tolist()
    allowed = [i for i in range(chain.vocab_size) if i not in (special.pad, special.bos, special.unk)]
    width = beam_size // num_groups
    groups = [[((), 0.0, 0.0)] for _ in range(num_groups)]  # tokens, Θ, log-probability
    ended = [[] for _ in range(num_groups)]
    for t in range(max_length):
        taken, found = Counter(), set()
        for g, group in enumerate(groups):
            grown = [
                ((*tokens, i), theta + step - diversity * taken[i], log_prob + step)
                for tokens, theta, log_prob in group
                for i in allowed
                for step in [tables[t][tokens[-1] if tokens else special.bos][i]]
            ]
            grown.sort(key=lambda h: -h[1])
            new = [h for h in grown[:width] if h[0][-1] == special.eos and h[0] not in found]
            found |= {h[0] for h in new}
            ended[g] += new
            groups[g] = [h for h in grown if h[0][-1] != special.eos][:width]
            taken.update(h[0][-1] for h in groups[g])
    each = -(-n // num_groups)
    listed, before = [], set()
    for own, group in zip(ended, groups, strict=True):
        best = sorted(own, key=lambda h: -h[2] / len(h[0]) ** alpha)[:each]
        rest = sorted((h for h in group if h[0] not in before), key=lambda h: -h[2])[: each - len(best)]
        before |= {h[0] for h in group}
        listed += [(place, *h) for place, h in enumerate(best)]
        listed += [(place + each, *h) for place, h in enumerate(rest, start=len(best))]

    def rank(h):
        finished = h[1][-1] == special.eos
        return not finished, -h[3] / (len(h[1]) ** alpha if finished else 1)

    chosen = sorted(sorted(listed, key=rank), key=lambda h: h[0])[:n]
    return [(h[1], h[1][-1] == special.eos, h[3]) for h in sorted(chosen, key=rank)]


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


@MANY
@given(
    seed=st.integers(0, 10**6),
    num_words=st.integers(1, 7),
    width=st.integers(1, 3),
    num_groups=st.integers(1, 4),
    diversity=st.sampled_from([0.0, 0.3, 1.0, 100.0]),
    max_length=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 0.7]),
    data=st.data(),
)
def test_it_equals_a_plain_search_without_early_stop(
    random_chain, special, seed, num_words, width, num_groups, diversity, max_length, alpha, data
):
    n = data.draw(st.integers(1, width * num_groups))
    options = {
        "beam_size": width * num_groups, "num_groups": num_groups, "diversity": diversity, "max_length": max_length
    }  # fmt: skip
    decoder = random_chain(3, num_words, max_length, seed)
    search = DiverseBeamSearch(**options, num_best=n, length_normalization=alpha)
    found = search(decoder, decoder.features, special)
    for image in range(3):
        got, expected = captions(found, image), plain(decoder, image, special, **options, alpha=alpha, n=n)
        assert [h[:2] for h in got] == [h[:2] for h in expected]
        assert [h[2] for h in got] == pytest.approx([h[2] for h in expected], abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"length_normalization": Gnmt(0.8)}, {"processors": [NoRepeatNgrams(1)]}])
def test_one_group_is_beam_search(random_chain, special, options):
    options = {"beam_size": 5, "num_best": 4, "max_length": 11, **options}
    for diversity in (0.0, 7.0):
        decoder = random_chain(7, 9, 11, seed=3)
        expected = BeamSearch(**options)(decoder, decoder.features, special)
        rows, decoder.rows = decoder.rows, []
        search = DiverseBeamSearch(**options, num_groups=1, diversity=diversity)
        found = search(decoder, decoder.features, special)
        for field in fields(Hypotheses):
            assert getattr(found, field.name).equal(getattr(expected, field.name))
        assert decoder.rows == rows  # images leave at the same step


def test_without_diversity_all_groups_find_the_same_captions_which_count_once(random_chain, special):
    decoder = random_chain(5, 9, 7, seed=3)
    search = DiverseBeamSearch(beam_size=6, num_groups=3, diversity=0.0, num_best=6, max_length=7)
    one = BeamSearch(beam_size=2, num_best=2, max_length=7)(decoder, decoder.features, special)
    found = search(decoder, decoder.features, special)
    for image in range(5):
        assert captions(found, image) == captions(one, image)


def test_strong_diversity_gives_each_group_other_words_in_each_step(random_chain, special):
    decoder = random_chain(5, 9, 6, seed=3)
    decoder.tables[..., special.eos] = -torch.inf
    search = DiverseBeamSearch(beam_size=4, num_groups=4, diversity=1000.0, num_best=4, max_length=6)
    for tokens in search(decoder, decoder.features, special).tokens:
        assert all(len(step.unique()) == 4 for step in tokens.T)
    near = BeamSearch(beam_size=4, num_best=4, max_length=6)(decoder, decoder.features, special)
    assert any(len(step.unique()) < 4 for tokens in near.tokens for step in tokens.T)


def test_more_diversity_never_makes_the_best_of_the_first_group_worse(random_chain, special):
    decoder = random_chain(5, 9, 7, seed=3)
    first = BeamSearch(beam_size=2, max_length=7)(decoder, decoder.features, special)
    for diversity in (0.0, 0.5, 1000.0):
        search = DiverseBeamSearch(beam_size=6, num_groups=3, diversity=diversity, max_length=7)
        found = search(decoder, decoder.features, special)
        assert (found.scores >= first.scores - 1e-6)[first.finished].all()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"beam_size": 5, "num_groups": 2}, "num_groups=2 must divide beam_size=5"),
        ({"num_groups": 0}, "num_groups=0 must divide"),
        ({"diversity": -1.0}, r"diversity=-1\.0 must be in 0\.\.1000"),
        ({"diversity": float("nan")}, r"diversity=nan must be in 0\.\.1000"),
        ({"num_best": 7}, r"num_best=7 must be in 1\.\.beam_size=6"),
        ({"beam_size": 1026}, "beam_size=1026 must be at most 1024"),
        ({"length_normalization": -1.0}, r"length_normalization=-1\.0 must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        DiverseBeamSearch(**settings_)
