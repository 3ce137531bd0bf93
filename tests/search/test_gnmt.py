"""GNMT's ranking by equation 14, with attention from single steps of the decoder."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from captioning.decoders import Att2in, UpDown
from captioning.decoders.decoder import AttentiveDecoder
from captioning.errors import InputError
from captioning.search import BeamSearch, Gnmt, GnmtSearch, Power
from captioning.search.gnmt import coverage


@pytest.fixture(params=[Att2in, UpDown], ids=lambda cls: cls.__name__)
def attentive(request):
    torch.manual_seed(1)
    sizes = dict.fromkeys(("embedding_size", "hidden_size", "attention_size"), 17)
    decoder = request.param(feature_size=13, vocab_size=11, **sizes).eval()
    for weight in decoder.parameters():
        torch.nn.init.uniform_(weight, -0.5, 0.5)
    return decoder


def weights(decoder, features, image, tokens, special):
    """The attention of each token, (T, R), from a caption of one image alone."""
    inputs = torch.tensor([[special.bos, *tokens[:-1]]])
    packed = pack_padded_sequence(inputs, torch.tensor([len(tokens)]), batch_first=True)
    return decoder.attend(features.rows(torch.tensor([image])), packed, torch.tensor([0])).attention.double()


def penalty(decoder, features, image, tokens, special):
    """Equation 14's sum, in float64."""
    attention = weights(decoder, features, image, tokens, special)
    real = features.mask[image].tolist()
    return sum(
        math.log(min(column.sum().item(), 1.0)) for column, is_real in zip(attention.T, real, strict=True) if is_real
    )


def listed(found, image):
    return [tokens[:length].tolist() for tokens, length in zip(found.tokens[image], found.lengths[image], strict=True)]


def test_the_hypotheses_of_the_beam_are_ranked_by_equation_14(attentive, features, special):
    alpha, beta, size = 0.7, 5.0, 6
    beam = BeamSearch(beam_size=size, num_best=size, max_length=5, length_normalization=Gnmt(alpha))
    candidates = beam(attentive, features, special)
    found = GnmtSearch(beam_size=size, num_best=size, max_length=5, alpha=alpha, beta=beta)(
        attentive, features, special
    )
    changed = 0
    for image in range(3):
        captions = listed(candidates, image)
        scores = dict(zip(map(tuple, captions), candidates.scores[image].tolist(), strict=True))

        def rank(tokens, scores=scores, image=image):
            length_penalty = (5 + len(tokens)) ** alpha / 6**alpha
            own = scores[tuple(tokens)] / length_penalty + beta * penalty(attentive, features, image, tokens, special)
            return tokens[-1] != special.eos, -own

        expected = sorted(captions, key=rank)
        assert listed(found, image) == expected
        assert found.scores[image].tolist() == [scores[tuple(tokens)] for tokens in expected]
        changed += expected != captions
    assert changed  # coverage decides somewhere


def test_coverage_is_that_of_each_caption_alone(attentive, features, special):
    found = BeamSearch(beam_size=4, num_best=4, max_length=3)(attentive, features, special)
    expected = [
        penalty(attentive, features, image, tokens, special) for image in range(3) for tokens in listed(found, image)
    ]
    got = coverage(attentive, features, found, special)
    assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert (got <= 0).all()
    assert got.unique().numel() > 3


def test_regions_that_are_not_real_do_not_count(attentive, features, special):
    found = BeamSearch(beam_size=2, num_best=2, max_length=5)(attentive, features, special)
    # The last image has one real region, whose attention is 1 at every token.
    assert coverage(attentive, features, found, special)[-2:].tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


def test_without_beta_it_is_beam_search_with_the_length_penalty(attentive, features, special):
    for alpha in (0.0, 0.8):
        found = GnmtSearch(beam_size=5, num_best=3, alpha=alpha, beta=0.0, max_length=7)(attentive, features, special)
        rule = Gnmt(alpha) if alpha else Power(0.0)
        beam = BeamSearch(beam_size=5, num_best=3, length_normalization=rule, max_length=7)
        expected = beam(attentive, features, special)
        for image in range(3):
            assert listed(found, image) == listed(expected, image)


def test_only_decoders_with_attention_are_accepted(one_decoder, features, special):
    if isinstance(one_decoder, AttentiveDecoder):
        assert GnmtSearch(max_length=4)(one_decoder, features, special).scores.isfinite().all()
        return
    name = type(one_decoder).__name__
    with pytest.raises(InputError, match=f"{name} has no attention, which search=gnmt ranks by; use search=beam"):
        GnmtSearch()(one_decoder, features, special)


def test_an_image_without_captions_stays_without(attentive, features, special):
    def nothing(step, tokens, log_probs):
        return torch.full_like(log_probs, -torch.inf)

    found = GnmtSearch(beam_size=3, num_best=2, max_length=4, processors=[nothing])(attentive, features, special)
    assert not found.lengths.any()
    assert found.scores.eq(-torch.inf).all()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"alpha": 11.0}, r"alpha=11\.0 must be at most 10"),
        ({"beta": -0.1}, r"beta=-0\.1 must be in 0\.\.100"),
        ({"beta": math.nan}, r"beta=nan must be in 0\.\.100"),
        ({"beam_size": 2, "num_best": 3}, r"num_best=3 must be in 1\.\.beam_size=2"),
        ({"beam_size": 1025}, "beam_size=1025 must be at most 1024"),
    ],
)
def test_settings_out_of_range_are_refused(settings_, message):
    with pytest.raises(InputError, match=message):
        GnmtSearch(**settings_)
