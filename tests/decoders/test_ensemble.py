"""Ensembles: the mean of their members' distributions, one word at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from conftest import build_loud
from torch import nn
from torch.testing import assert_close

from captioning.decoders import FC, Decoder, Ensemble, LanguageModel, Member, Merge, UpDown
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError
from captioning.recurrent import GRU, MaxoutLSTM
from captioning.search import BeamSearch
from captioning.text import SpecialTokens

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


def members() -> list[Decoder]:
    """Three decoders whose states differ in kind."""
    torch.manual_seed(0)
    return [
        build_loud(lambda: FC(recurrent=MaxoutLSTM, **SIZES)),
        build_loud(lambda: UpDown(attention_size=23, **SIZES)),
        build_loud(lambda: Merge(recurrent=GRU, **SIZES)),
    ]


def mean(log_probs: list[torch.Tensor], weights: list[float], average: str) -> torch.Tensor:
    """The definition, in float64, for one distribution of each member."""
    total = sum(weights)
    if average == "probabilities":
        return sum(w / total * x.double().exp() for w, x in zip(weights, log_probs, strict=True))
    p = torch.stack([w / total * x.double() for w, x in zip(weights, log_probs, strict=True)]).sum(0).exp()
    return p / p.sum()


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
@pytest.mark.parametrize("weights", [None, [1, 2, 0.5]])
def test_an_ensemble_is_the_mean_of_its_members(features, batch, average, weights):
    parts = members()
    ensemble = Ensemble(parts, weights=weights, average=average)
    got = ensemble(features, batch.inputs(), batch.image_index).double().softmax(1)
    each = [part(features, batch.inputs(), batch.image_index).double().log_softmax(1) for part in parts]
    for row in range(len(got)):
        assert_close(got[row], mean([x[row] for x in each], weights or [1, 1, 1], average), rtol=1e-5, atol=1e-7)


def test_a_mean_of_probabilities_is_normalised(features, batch):
    logits = Ensemble(members())(features, batch.inputs(), batch.image_index)
    assert_close(logits.exp().sum(1), torch.ones(len(logits)))


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_an_ensemble_of_one_and_of_equals_is_the_model(features, batch, special, average):
    for own in members():
        expected = own(features, batch.inputs(), batch.image_index).log_softmax(1)
        for parts in ([own], [own, own]):
            ensemble = Ensemble(parts, weights=[3.0] * len(parts), average=average)
            got = ensemble(features, batch.inputs(), batch.image_index)
            assert_close(got.log_softmax(1), expected, rtol=1e-5, atol=1e-5)
            search = BeamSearch(max_length=7)
            assert search(ensemble, features, special).tokens.equal(search(own, features, special).tokens)


def test_a_word_that_one_member_excludes_keeps_the_probability_of_the_others():
    class Only(nn.Module):
        def __init__(self, *logits: float) -> None:
            super().__init__()
            self.vocab_size, self.logits = 3, torch.tensor([logits])

        def step(self, tokens, state):
            return self.logits, state

        def start(self, features):
            return None

    parts = [Only(0.0, -torch.inf, -torch.inf), Only(0.0, 0.0, -torch.inf)]
    for average, expected in (("probabilities", [0.75, 0.25, 0.0]), ("log_probabilities", [1.0, 0.0, 0.0])):
        ensemble = Ensemble(parts, average=average)
        logits, _ = ensemble.step(torch.tensor([1]), ensemble.start(ImageFeatures(torch.zeros(1, 1))))
        assert_close(logits.softmax(1)[0], torch.tensor(expected))


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_beam_search_over_an_ensemble_finds_what_exhaustive_search_finds(average):
    special, length, words = SpecialTokens(pad=0, bos=1, eos=2, unk=3), 3, range(4, 7)
    sizes = {"feature_size": 1, "vocab_size": 7, "embedding_size": 5, "hidden_size": 5}
    torch.manual_seed(3)
    parts = [LanguageModel(recurrent=GRU, **sizes).eval() for _ in range(2)]
    for part in parts:
        for weight in part.parameters():
            nn.init.normal_(weight, std=2.0)
    image = ImageFeatures(torch.zeros(1, 1))

    def score(caption: tuple[int, ...]) -> float:
        total, states, last = 0.0, [part.start(image) for part in parts], special.bos
        for word in caption:
            steps = [part.step(torch.tensor([last]), state) for part, state in zip(parts, states, strict=True)]
            p = mean([logits[0].double().log_softmax(0) for logits, _ in steps], [2.0, 1.0], average)
            total, states, last = total + p[word].log().item(), [state for _, state in steps], word
        return total

    captions = [(*c, special.eos) for n in range(length) for c in product(words, repeat=n)]
    best = sorted(captions, key=score, reverse=True)[:5]
    ensemble = Ensemble(parts, weights=[2.0, 1.0], average=average)
    found = BeamSearch(beam_size=200, num_best=5, max_length=length)(ensemble, image, special)
    assert [tuple(t[:n]) for t, n in zip(found.tokens[0].tolist(), found.lengths[0].tolist(), strict=True)] == best
    assert_close(found.scores[0].tolist(), [score(c) for c in best], rtol=1e-5, atol=1e-5)


def test_a_member_reads_its_own_encoder_s_features_and_standardises_them(features, batch):
    decoder = members()[1]
    scale = Standardise(13, deviation=0.2)
    scale.fit([features])
    member = Member(decoder, feature_size=13, standardise=0.2, encoder=1)
    member.standardise.load_state_dict(scale.state_dict())
    expected = decoder(scale(features), batch.inputs(), batch.image_index)
    others = (features, replace(features, pooled=features.pooled + 1))
    first = ImageFeatures(torch.zeros(3, 7), others=others, objects=features.objects)
    assert_close(member(first, batch.inputs(), batch.image_index), expected, rtol=0, atol=0)
    logits, _ = member.step(torch.full((3,), 1), member.start(first))
    own, _ = decoder.step(torch.full((3,), 1), decoder.start(scale(features)))
    assert_close(logits, own, rtol=0, atol=0)


def test_features_of_too_few_encoders_are_refused(features):
    member = Member(members()[0], feature_size=13, encoder=2)
    with pytest.raises(InputError, match="reads 3 encoders, but the features are those of 1; cached features serve"):
        member.start(features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": [1.0, 2.0]}, "expected 3 numbers above 0"),
        ({"weights": [1.0, 0.0, 1.0]}, "expected 3 numbers above 0"),
        ({"weights": [1.0, float("nan"), 1.0]}, "expected 3 numbers above 0"),
        ({"average": "median"}, "average='median': expected one of probabilities, log_probabilities"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Ensemble(members(), **settings)


def test_members_of_different_vocabularies_are_refused():
    other = FC(recurrent=MaxoutLSTM, **{**SIZES, "vocab_size": 12})
    with pytest.raises(InputError, match="found members of these sizes: 11, 11, 11, 12"):
        Ensemble([*members(), other])
    with pytest.raises(InputError, match="found members of these sizes: none"):
        Ensemble([])


@pytest.mark.parametrize("settings", [{"encoder": -1}, {"standardise": 0.0}, {"standardise": float("inf")}])
def test_a_member_s_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match="must be at least 0, and standardise="):
        Member(members()[0], feature_size=13, **settings)
