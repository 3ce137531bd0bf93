"""Contrast with a language model or other images."""

from __future__ import annotations

import pytest
import torch
from conftest import build_loud
from torch.testing import assert_close

from captioning.decoders import (
    AgainstImages,
    AgainstLanguageModel,
    Distractors,
    LanguageModel,
    ShowAndTell,
    UpDown,
    WithoutImage,
)
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.recurrent import GRU, LSTM
from captioning.search import BeamSearch, GreedySearch, Sampling

SIZES = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}


def parts():
    decoder = build_loud(lambda: ShowAndTell(recurrent=LSTM, **SIZES))
    return decoder, build_loud(lambda: LanguageModel(recurrent=GRU, **SIZES))


def log_probs(decoder, features, batch, index=None):
    return decoder(features, batch.inputs(), batch.image_index if index is None else index).double().log_softmax(1)


def distractors() -> ImageFeatures:
    random = torch.Generator().manual_seed(9)
    return ImageFeatures(torch.randn(2, 13, generator=random), torch.randn(2, 3, 13, generator=random))


def expected_against(p, q, strength):
    """The definition, word by word in float64."""
    rows = zip(p.exp().tolist(), q.exp().tolist(), strict=True)
    ratios = torch.tensor([[a / b**strength for a, b in zip(*row, strict=True)] for row in rows], dtype=torch.float64)
    return ratios / ratios.sum(1, keepdim=True)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_each_distribution_is_the_normalised_ratio(features, batch, strength):
    decoder, language_model = parts()
    found = AgainstLanguageModel(decoder, language_model, strength=strength)
    got = log_probs(found, features, batch).exp()
    p, q = log_probs(decoder, features, batch), log_probs(language_model, features, batch)
    assert_close(got, expected_against(p, q, strength), rtol=1e-4, atol=1e-6)

    found = AgainstImages(decoder, Distractors.of(distractors()), strength=strength)
    got = log_probs(found, features, batch).exp()
    each = [log_probs(decoder, distractors(), batch, torch.full((5,), d)).exp() for d in (0, 1)]
    assert_close(got, expected_against(p, ((each[0] + each[1]) / 2).log(), strength), rtol=1e-4, atol=1e-6)


def test_without_strength_the_captions_are_the_decoder_s(features, special):
    decoder, language_model = parts()
    search = BeamSearch(max_length=6, beam_size=3)
    expected = search(decoder, features, special)
    for found in (
        AgainstLanguageModel(decoder, language_model, strength=0.0),
        AgainstImages(decoder, Distractors.of(distractors()), strength=0.0),
    ):
        assert search(found, features, special).tokens.equal(expected.tokens)


@pytest.mark.parametrize(
    "search", [GreedySearch(max_length=6), BeamSearch(max_length=6, num_best=3), Sampling(max_length=6, num_samples=3)]
)
def test_scores_are_at_most_0_and_sums_of_what_teacher_forcing_gives(features, special, search):
    decoder, language_model = parts()
    up_down = build_loud(lambda: UpDown(attention_size=23, **SIZES))
    for contrasted in (
        AgainstLanguageModel(decoder, language_model, strength=0.7),
        AgainstImages(up_down, Distractors.of(distractors()), strength=0.7),
    ):
        found = search(contrasted, features, special)
        assert found.token_scores.le(0).all()
        for image in range(3):
            state, last, total = contrasted.start(features.rows(torch.tensor([image]))), special.bos, 0.0
            for token in found.tokens[image, 0, : found.lengths[image, 0]].tolist():
                logits, state = contrasted.step(torch.tensor([last]), state)
                total, last = total + logits.log_softmax(1)[0, token].item(), token
            assert found.scores[image, 0].item() == pytest.approx(total, abs=1e-4)


def test_a_language_model_without_the_image_reads_zeros(features, batch, special):
    blind = build_loud(lambda: ShowAndTell(recurrent=LSTM, **{**SIZES, "feature_size": 1}))
    found = WithoutImage(blind, zero_size=1)
    zeros = ImageFeatures(torch.zeros(3, 1))
    assert_close(log_probs(found, features, batch), log_probs(blind, zeros, batch))
    search = BeamSearch(max_length=6)
    assert search(found, features, special).scores.equal(search(blind, zeros, special).scores)


def test_words_of_any_image_become_rarer(features, batch):
    decoder, language_model = parts()
    q = log_probs(language_model, features, batch)
    before = log_probs(decoder, features, batch)
    after = log_probs(AgainstLanguageModel(decoder, language_model, strength=0.5), features, batch)
    common = q.argmax(1, keepdim=True)
    assert after.gather(1, common).lt(before.gather(1, common)).all()


def test_a_word_without_probability_stays_without_it_and_nothing_is_nan():
    class Given(torch.nn.Module):
        vocab_size = 3

        def __init__(self, *logits):
            super().__init__()
            self.logits = torch.tensor([logits])

        def start(self, features):
            return None

        def step(self, tokens, state):
            return self.logits, state

    found = AgainstLanguageModel(Given(0.0, 0.0, -torch.inf), Given(0.0, -torch.inf, -torch.inf), strength=1.0)
    logits, _ = found.step(torch.tensor([1]), found.start(ImageFeatures(torch.zeros(1, 1))))
    assert_close(logits.exp(), torch.tensor([[0.0, 1.0, 0.0]]))


def test_settings_that_do_not_fit_are_refused():
    decoder, language_model = parts()
    with pytest.raises(InputError, match=r"strength=-0\.1 must be at least 0"):
        AgainstLanguageModel(decoder, language_model, strength=-0.1)
    with pytest.raises(InputError, match="strength=nan must be at least 0"):
        AgainstImages(decoder, Distractors.of(distractors()), strength=float("nan"))
    with pytest.raises(InputError, match="zero_size=0 must be at least 1"):
        WithoutImage(language_model, zero_size=0)
    other = LanguageModel(recurrent=GRU, **{**SIZES, "vocab_size": 12})
    with pytest.raises(InputError, match="the decoder has 11 tokens and the language model 12"):
        AgainstLanguageModel(decoder, other, strength=1.0)
