"""The search that options make of another one, and options that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from captioning.errors import InputError
from captioning.search import (
    BeamSearch,
    ConstrainedBeamSearch,
    CoveringSearch,
    DiverseBeamSearch,
    Forbid,
    GreedySearch,
    MinimumBayesRisk,
    MinLength,
    NoBadEndings,
    NoRepeatNgrams,
    RepetitionPenalty,
    Sampling,
    Search,
    StochasticBeamSearch,
)
from captioning.search.names import as_option, as_setting
from captioning.search.options import OPTIONS, check_kind, with_options
from captioning.text import Tokenizer, train_bpe

NEVER = Forbid([5])
BEAM = BeamSearch(beam_size=4, length_normalization=0.5, max_length=9, allow_unknown=True, processors=[NEVER])
SHARED: dict[str, Any] = {"max_length": 9, "allow_unknown": True, "processors": [NEVER]}
DRAWS = Sampling(temperature=0.5, top_k=3, top_p=0.5, seed=7, num_samples=2, **SHARED)
GREEDY = GreedySearch(**SHARED)
COVERING = CoveringSearch(beam_size=6, num_best=8, **SHARED)


@pytest.mark.parametrize(
    ("own", "options", "expected"),
    [
        (BEAM, {}, BEAM),
        (BEAM, {"beam_size": None, "banned": []}, BEAM),
        (BEAM, {"beam_size": 7}, BeamSearch(beam_size=7, length_normalization=0.5, **SHARED)),
        (BEAM, {"length_normalization": 0.0}, BeamSearch(beam_size=4, **SHARED)),
        (
            BEAM,
            {"allow_unknown": False},
            BeamSearch(beam_size=4, length_normalization=0.5, max_length=9, processors=[NEVER]),
        ),
        (BEAM, {"beam_size": 1}, GREEDY),
        (BEAM, {"num_best": 3}, BeamSearch(beam_size=4, num_best=3, length_normalization=0.5, **SHARED)),
        (BEAM, {"num_best": 6}, BeamSearch(beam_size=6, num_best=6, length_normalization=0.5, **SHARED)),
        (BeamSearch(beam_size=6, num_best=6), {"beam_size": 3}, BeamSearch(beam_size=3, num_best=3)),
        (BEAM, {"temperature": 2.0}, Sampling(temperature=2.0, **SHARED)),
        (BEAM, {"top_p": 0.9, "num_best": 3, "seed": 4}, Sampling(top_p=0.9, num_samples=3, seed=4, **SHARED)),
        (DRAWS, {"temperature": 2.0}, Sampling(temperature=2.0, top_k=3, top_p=0.5, seed=7, num_samples=2, **SHARED)),
        (DRAWS, {"num_best": 5}, Sampling(temperature=0.5, top_k=3, top_p=0.5, seed=7, num_samples=5, **SHARED)),
        (DRAWS, {"beam_size": 3}, BeamSearch(beam_size=3, **SHARED)),
        (GREEDY, {"beam_size": 3, "num_best": 2}, BeamSearch(beam_size=3, num_best=2, **SHARED)),
        (GREEDY, {"num_best": 1, "max_length": 4}, GreedySearch(max_length=4, allow_unknown=True, processors=[NEVER])),
        (COVERING, {"num_best": 9, "num_words": 2}, CoveringSearch(beam_size=6, num_best=9, num_words=2, **SHARED)),
    ],
)
def test_options_change_what_they_name_and_nothing_else(
    own: Search, options: dict[str, Any], expected: Search, tokenizer: Tokenizer
) -> None:
    assert with_options(own, tokenizer, **options) == expected


def test_rules_become_processors_after_the_search_s_own(tokenizer: Tokenizer) -> None:
    dog, cat = (tokenizer.vocabulary.index(word) for word in ("dog", "cat"))
    found = with_options(BEAM, tokenizer, min_length=3, banned=["Dog", "cat"])
    assert found.processors == (NEVER, MinLength(3, tokenizer.special.eos), Forbid([dog, cat]))


def test_rules_against_repetitions_and_bad_endings_become_processors(tokenizer: Tokenizer) -> None:
    found = with_options(GREEDY, tokenizer, no_repeat_ngram=2, repetition_penalty=1.5, no_bad_endings=True)
    bad = NoBadEndings(sorted(tokenizer.vocabulary.index(word) for word in ("a",)), tokenizer.special.eos)
    assert found.processors == (NEVER, NoRepeatNgrams(2), RepetitionPenalty(1.5), bad)
    assert with_options(GREEDY, tokenizer, no_bad_endings=False) == GREEDY


@pytest.mark.parametrize(
    ("own", "options", "expected"),
    [
        (BEAM, {}, {"beam_size": 4, "length_normalization": 0.5, **SHARED}),
        (BEAM, {"beam_size": 1}, {"beam_size": 1, "length_normalization": 0.5, **SHARED}),
        (BEAM, {"num_best": 6}, {"beam_size": 6, "num_best": 6, "length_normalization": 0.5, **SHARED}),
        (GREEDY, {"max_length": 5}, {**SHARED, "max_length": 5}),
        (GREEDY, {"beam_size": 3}, {"beam_size": 3, **SHARED}),
        (DRAWS, {}, SHARED),
    ],
)  # fmt: skip
def test_required_words_make_a_constrained_search(
    own: Search, options: dict[str, Any], expected: dict[str, Any], tokenizer: Tokenizer
) -> None:
    dog, cat, a, field = (tokenizer.vocabulary.index(word) for word in ("dog", "cat", "a", "field"))
    found = with_options(own, tokenizer, required=["dog|cat", "a field"], **options)
    assert found == ConstrainedBeamSearch(required=[[[dog], [cat]], [[a, field]]], **expected)


def test_samples_without_repetition_are_counted_by_num_best_too(tokenizer: Tokenizer) -> None:
    assert with_options(StochasticBeamSearch(), tokenizer, num_best=7) == StochasticBeamSearch(num_samples=7)


@pytest.mark.parametrize("name", ["min_p", "typical_p"])
def test_each_filter_makes_a_sampler(name: str, tokenizer: Tokenizer) -> None:
    assert with_options(GREEDY, tokenizer, **{name: 0.3}) == Sampling(**{name: 0.3}, **SHARED)


def test_more_beams_of_groups_are_a_multiple_of_the_groups(tokenizer: Tokenizer) -> None:
    found = with_options(DiverseBeamSearch(beam_size=6, num_groups=3), tokenizer, num_best=7)
    assert found == DiverseBeamSearch(beam_size=9, num_groups=3, num_best=7)


def test_a_rule_replaces_its_own_kind_and_bans_add_up(tokenizer: Tokenizer) -> None:
    eos, dog = tokenizer.special.eos, tokenizer.vocabulary.index("dog")
    own = with_options(BEAM, tokenizer, min_length=3)
    assert with_options(own, tokenizer, min_length=5, banned=["dog"]).processors == (
        NEVER,
        MinLength(5, eos),
        Forbid([dog]),
    )


@pytest.mark.parametrize(
    ("own", "options", "message"),
    [
        (BEAM, {"beam_size": 3, "temperature": 1.0}, "beam_size and temperature exclude each other"),
        (DRAWS, {"length_normalization": 1.0, "top_k": 3}, "length_normalization and top_k exclude each other"),
        (BEAM, {"seed": 3}, "seed has no effect: BeamSearch draws nothing; give temperature too"),
        (GREEDY, {"length_normalization": 1.0}, "GreedySearch compares no captions; give beam_size too"),
        (BEAM, {"beam_size": 1, "length_normalization": 1.0}, "length_normalization and beam_size=1 exclude"),
        (BEAM, {"beam_size": 3, "num_best": 4}, "num_best=4 is above beam_size=3"),
        (BEAM, {"beam_size": 1, "num_best": 2}, "num_best=2 and beam_size=1: one beam holds one caption"),
        (GREEDY, {"num_best": 2}, "add beam_size for the most probable ones, or temperature for random ones"),
        (BEAM, {"num_best": 0}, "num_best=0 must be at least 1"),
        (
            MinimumBayesRisk(search=DRAWS),
            {"num_best": 3},
            "MinimumBayesRisk orders all captions of its own search; set num_samples or num_best of that search",
        ),
        (BEAM, {"beam_size": 0}, "must be in 1..beam_size=0"),
        (BEAM, {"temperature": 1.0, "num_best": 2, "num_samples": 3}, "num_best and num_samples differ"),
        (BEAM, {"min_length": 9}, "min_length=9 must be below max_length=9"),
        (BEAM, {"min_length": 4, "max_length": 3}, "min_length=4 must be below max_length=3"),
        (BEAM, {"temperature": 0.0}, "use greedy search"),
        (COVERING, {"num_words": 2, "temperature": 1.0}, "num_words is a setting of CoveringSearch, and the other"),
        (BEAM, {"beam_size": "3"}, "beam_size='3': Expected `int`, got `str`"),
        (BEAM, {"banned": "dog"}, "banned='dog': Expected `array`, got `str`"),
        (BEAM, {"banned": ["dgo"]}, "banned: 'dgo' is not among the 11 words of the model; near it are dog"),
        (BEAM, {"banned": ["a dog"]}, r"'a dog' is 2 words here \(a and dog\); name single words"),
        (BEAM, {"banned": ["!"]}, "'!' holds no word"),
        (BEAM, {"required": ["dgo"]}, "required: 'dgo' is not among the 11 words of the model; near it are dog"),
        (BEAM, {"required": ["dog"], "top_k": 3}, "required and top_k exclude each other"),
        (BEAM, {"required": ["dog"], "max_length": 1}, "require fewer words"),
        (BEAM, {"num_beams": 3}, "num_beams is called beam_size here"),
        (BEAM, {"beam_sise": 3}, r"did you mean beam_size\?"),
        (BEAM, {"processors": [NEVER]}, "there is no option processors"),
    ],
)
def test_options_that_do_not_fit_are_named(
    own: Search, options: dict[str, Any], message: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InputError, match=message):
        with_options(own, tokenizer, **options)


def test_messages_spell_options_as_the_reader_writes_them(tokenizer: Tokenizer) -> None:
    for spell, message in (
        (as_option, "--beam-size and --top-k exclude"),
        (as_setting, r"search\.beam_size and search\.top_k exclude"),
    ):
        with pytest.raises(InputError, match=message):
            with_options(BEAM, tokenizer, spell, beam_size=3, top_k=2)


def test_models_of_subwords_take_no_words() -> None:
    with pytest.raises(InputError, match="this model writes parts of words"):
        with_options(BEAM, train_bpe(["a dog"] * 2, vocab_size=30), banned=["dog"])


def test_a_search_that_the_user_has_named_is_not_replaced() -> None:
    check_kind(BEAM, ["beam_size", "min_length"], as_setting)
    with pytest.raises(InputError, match=r"search\.temperature: BeamSearch has no such setting \(search\.beam_size"):
        check_kind(BEAM, ["temperature"], as_setting)


def test_a_minimum_length_is_respected(random_chain: Any, special: Any) -> None:
    chain = random_chain(3, 3, 8, seed=2)
    chain.tables[..., special.eos] += 5  # short captions
    for search in (GreedySearch, BeamSearch, Sampling):
        short, long = (
            search(max_length=8, processors=own)(chain, chain.features, special)
            for own in ((), [MinLength(5, special.eos)])
        )
        assert short.lengths.min() < 6 <= long.lengths.min()
        assert torch.allclose(long.token_scores.sum(2), long.scores)


def test_the_options_of_the_command_line_are_these() -> None:
    from captioning.commands._search import _OPTIONS

    assert set(_OPTIONS) == set(OPTIONS)
