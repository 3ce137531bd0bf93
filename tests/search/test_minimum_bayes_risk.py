"""Minimum Bayes risk over the captions of any search: a loop over its definition."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.errors import InputError
from captioning.metrics import METRICS
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.metrics.resources import Resources
from captioning.model.safe_build import build
from captioning.search import BeamSearch, Forbid, MinimumBayesRisk, Sampling
from captioning.search.hypotheses import Search

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "dogs", "cat", "runs", "on", "grass"]
FREQUENCIES = {"a": 9, "a dog": 3, "cat": 2, "dogs": 4, "on grass": 5}
NAMES = {"CIDEr-D": ("CIDEr-D", 0), "BLEU-4": ("BLEU", 3), "ROUGE-L": ("ROUGE-L", 0), "METEOR": ("METEOR", 0)}
INNER = {"uniform": Sampling(num_samples=9, max_length=7), "probability": BeamSearch(num_best=5, max_length=7)}


def one_score(utility: str, candidate: str, reference: str, frequencies: dict[str, int], num_images: int) -> float:
    """u(h, e), of one pair alone."""
    name, number = NAMES[utility]
    counts = DocumentFrequencies(num_images, frequencies)
    metric = METRICS[name].of(Resources(text=[[reference]], tokens=[[reference]], frequencies=counts))
    return float(metric.image_scores(metric.statistics([candidate]))[0, number])


@pytest.mark.parametrize("utility", NAMES)
@pytest.mark.parametrize("weights", ["uniform", "probability"])
def test_captions_are_ordered_by_their_expected_utility(random_chain, special, utility, weights):
    decoder = random_chain(3, len(WORDS) - 4, 7, seed=1)
    frequencies = FREQUENCIES if utility == "CIDEr-D" else {}
    search = MinimumBayesRisk(
        search=INNER[weights], utility=utility, weights=weights, words=WORDS, frequencies=frequencies, num_images=10
    )
    inner = INNER[weights](decoder, decoder.features, special)
    found = search(decoder, decoder.features, special)
    for image in range(3):
        tokens = [t[:n] for t, n in zip(inner.tokens[image].tolist(), inner.lengths[image].tolist(), strict=True)]
        texts = [" ".join(WORDS[i] for i in own if i != special.eos) for own in tokens]
        w = [1.0 if weights == "uniform" else math.exp(s) for s in inner.scores[image].tolist()]
        expected = [
            sum(p * one_score(utility, h, e, frequencies, 10) for p, e in zip(w, texts, strict=True)) / sum(w)
            for h in texts
        ]
        order = sorted(range(len(texts)), key=lambda i: -round(expected[i], 9))
        for place, i in enumerate(order):
            for name in ("tokens", "lengths", "scores", "token_scores", "finished"):
                assert getattr(found, name)[image, place].equal(getattr(inner, name)[image, i]), (image, place, name)
        assert_close(search.expected_utilities(inner, special)[image].tolist(), expected, rtol=1e-9, atol=1e-9)


def test_the_caption_that_most_resembles_the_others_is_chosen_though_another_is_more_probable(chain, special, spell):
    # "c$" has .4, and "aab$", "aac$", "aabc$" have less each and resemble each other.
    following = {"^": {"c": 0.4, "a": 0.6}, "a": {"a": 0.5, "b": 0.5}, "b": {"$": 0.5, "c": 0.5}, "c": {"$": 1.0}}
    decoder = chain(following)
    inner = BeamSearch(beam_size=20, num_best=6, max_length=6)
    assert spell(inner(decoder, decoder.features, special).tokens[0, 0]).startswith("c$")
    search = MinimumBayesRisk(search=inner, utility="ROUGE-L", weights="uniform")
    assert spell(search(decoder, decoder.features, special).tokens[0, 0]).startswith("a")


def test_ids_and_words_give_the_same_order(random_chain, special):
    decoder = random_chain(3, len(WORDS) - 4, 7, seed=1)
    for utility in ("CIDEr-D", "BLEU-4", "ROUGE-L"):
        search = MinimumBayesRisk(search=INNER["uniform"], utility=utility)
        by_words = replace(search, words=WORDS)
        found, others = (s(decoder, decoder.features, special) for s in (search, by_words))
        assert found.tokens.equal(others.tokens)


def test_an_image_s_captions_do_not_depend_on_its_batch(random_chain, special):
    decoder = random_chain(3, 7, 7, seed=1)
    search = MinimumBayesRisk(search=BeamSearch(num_best=5, max_length=7))
    together = search(decoder, decoder.features, special)
    for image in range(3):
        alone = search(decoder, decoder.features.rows(torch.tensor([image])), special)
        assert alone.scores[0].equal(together.scores[image])


def test_an_image_without_captions_stays_without_and_missing_ones_come_last(chain, special):
    decoder = chain({"^": {"$": 1.0}}, {"^": {"a": 0.5, "$": 0.5}, "a": {"$": 1.0}})
    search = MinimumBayesRisk(search=BeamSearch(num_best=4, max_length=3))
    found = search(decoder, decoder.features, special)
    assert found.lengths.tolist()[0][1:] == [0, 0, 0]
    assert found.lengths.tolist()[1][2:] == [0, 0]
    nothing = replace(search, processors=[Forbid(range(7))])
    assert not nothing(decoder, decoder.features, special).lengths.any()


def test_the_shared_settings_are_those_of_the_inner_search_unless_given():
    inner = Sampling(max_length=9, allow_unknown=True, processors=[Forbid([4])])
    search = MinimumBayesRisk(search=inner)
    assert (search.max_length, search.allow_unknown, search.processors) == (9, True, (Forbid([4]),))
    shorter = replace(search, max_length=5, processors=())
    assert shorter.search == replace(inner, max_length=5, processors=())
    assert shorter.max_length == 5


PLAIN = {
    "_target_": "captioning.search.MinimumBayesRisk",
    "search": {"_target_": "captioning.search.Sampling", "num_samples": 3, "max_length": 9},
    "utility": "CIDEr-D", "words": WORDS, "frequencies": FREQUENCIES, "num_images": 10,
}  # fmt: skip


def test_settings_are_plain_values():
    search = MinimumBayesRisk(search=Sampling(num_samples=3), words=WORDS, frequencies=FREQUENCIES, num_images=10)
    settings = json.loads(json.dumps(search.settings()))
    assert (settings["search"]["name"], settings["search"]["num_samples"]) == ("Sampling", 3)
    assert (settings["utility"], settings["num_images"]) == ("CIDEr-D", 10)
    assert "words" not in settings


def test_settings_identify_the_document_frequencies():
    def identity(frequencies):
        search = MinimumBayesRisk(search=Sampling(num_samples=3), words=WORDS, frequencies=frequencies, num_images=10)
        return search.settings()["frequencies"]

    in_another_order = dict(reversed(FREQUENCIES.items()))
    ngram = next(iter(FREQUENCIES))
    found = [identity(each) for each in (FREQUENCIES, {**FREQUENCIES, ngram: FREQUENCIES[ngram] + 1}, {}, None)]
    assert identity(in_another_order) == found[0]
    assert len(set(found)) == 4
    assert found[3] is None


def test_it_is_built_from_plain_values():
    found = build(PLAIN, Search, source="here")
    expected = MinimumBayesRisk(
        search=Sampling(num_samples=3, max_length=9), words=WORDS, frequencies=FREQUENCIES, num_images=10
    )
    assert found == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": {"_target_": "captioning.decoders.FC"}}, "is no class that may stand here"),
        ({"search": {"_target_": "os.system"}}, "is no class that may stand here"),
        ({"search": 7}, "expected a part"),
        ({"search": {"_target_": "captioning.search.Forbid", "ids": [1]}}, "search: expected a Search"),
        ({"utility": "SPICE"}, "expected one of BLEU-4, METEOR, ROUGE-L, CIDEr-D"),
        ({"weights": "best"}, "weights"),
        ({"words": None}, "CIDEr-D compares words here and has only token ids; give words="),
        ({"frequencies": {"a": 11}}, "expected each n-gram in 1 to 10 images"),
        ({"frequencies": {"a": "b"}}, "expected each n-gram in 1 to 10 images"),
        ({"frequencies": "file.json"}, "read a file"),
        ({"max_length": 0}, "max_length=0 must be at least 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build({**PLAIN, **change}, Search, source="here")


def test_too_many_captions_and_other_vocabularies_are_refused(random_chain, special):
    decoder = random_chain(1, 7, 3, seed=1)
    with pytest.raises(InputError, match="found 1001 captions of an image to compare, expected at most 1000"):
        MinimumBayesRisk(search=Sampling(num_samples=1001, max_length=3))(decoder, decoder.features, special)
    with pytest.raises(InputError, match="found 3 words, expected those of 11 token ids"):
        MinimumBayesRisk(search=Sampling(max_length=3), words=["a", "b", "c"])(decoder, decoder.features, special)
