"""What holds for every word detector: regions are a set, padding is invisible, and the start says the frequencies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.encoders.detectors import MaxOverRegions, NoisyOr, WholeImage, WordDetector
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

OVER_REGIONS = (NoisyOr, MaxOverRegions)
EVERY = (*OVER_REGIONS, WholeImage)
FREQUENCIES = torch.tensor([0.0, 1.0, 0.5, 1e-4, 0.999, 0.3, 0.01, 0.2, 0.1, 0.7, 0.05])


def random_detector(kind: type[WordDetector]) -> WordDetector:
    torch.manual_seed(1)
    detector = kind(feature_size=13, vocab_size=11)
    for weight in detector.parameters():
        torch.nn.init.normal_(weight)
    return detector


def random_features(num_regions: int = 7) -> ImageFeatures:
    random = torch.Generator().manual_seed(2)
    pooled, grid = torch.randn(3, 13, generator=random), torch.randn(3, num_regions, 13, generator=random)
    return ImageFeatures(pooled, grid)


@pytest.mark.parametrize("kind", EVERY)
def test_log_p_and_log_1_minus_p_are_those_of_one_probability(kind):
    detector, features = random_detector(kind), random_features()
    log_present, log_absent = detector.log_probs(features)
    assert log_present.shape == log_absent.shape == (3, 11)
    assert_close(log_present.exp() + log_absent.exp(), torch.ones(3, 11))
    assert_close(detector(features), log_present.exp())


@pytest.mark.parametrize("kind", EVERY)
def test_a_detector_without_training_says_every_word_s_frequency(kind):
    detector, features = kind(feature_size=13, vocab_size=11, dropout=0.5), random_features()
    detector.start(FREQUENCIES, features)
    expected = FREQUENCIES.clamp(1e-6, 1 - 1e-6).expand(3, 11)
    assert_close(detector(features), expected, rtol=1e-4, atol=0)
    assert_close(detector.log_probs(features)[1].exp(), 1 - expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", OVER_REGIONS)
def test_the_order_of_regions_is_irrelevant(kind):
    detector, features = random_detector(kind), random_features()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    turned = replace(features, grid=features.grid[:, order])
    assert_close(detector.log_probs(turned), detector.log_probs(features))
    assert_close(detector.maps(turned), detector.maps(features)[:, order])


@pytest.mark.parametrize("kind", OVER_REGIONS)
@pytest.mark.parametrize("padding", [0.0, 1e3, torch.nan])
def test_padding_is_invisible_to_values_and_gradients(kind, padding):
    features, found = random_features(), []
    wider = torch.cat([features.grid, torch.full((3, 2, 13), padding)], 1)
    mask = (torch.arange(9) < 7).expand(3, 9)
    for given in (features, replace(features, grid=wider, mask=mask)):
        detector = random_detector(kind)
        log_present, log_absent = detector.log_probs(given)
        (log_present.sum() + 2 * log_absent.sum()).backward()
        gradients = [weight.grad for weight in detector.parameters()]
        found.append((log_present.detach(), log_absent.detach(), gradients, detector.maps(given)[:, :7].detach()))
    assert_close(found[1], found[0])
    assert not random_detector(kind).maps(replace(features, grid=wider, mask=mask))[:, 7:].any()


@pytest.mark.parametrize("kind", OVER_REGIONS)
def test_padding_is_no_region_at_the_start(kind):
    features = random_features()
    detector, same = kind(feature_size=13, vocab_size=11), kind(feature_size=13, vocab_size=11)
    detector.start(FREQUENCIES, replace(features, mask=torch.arange(7).expand(3, 7) < 5))
    same.start(FREQUENCIES, replace(features, grid=features.grid[:, :5]))
    assert_close(detector.state_dict(), same.state_dict())


@pytest.mark.parametrize("kind", OVER_REGIONS)
@pytest.mark.parametrize("call", ["log_probs", "maps", "start"])
def test_a_detector_over_regions_refuses_features_without_a_grid(kind, call):
    features = replace(random_features(), grid=None)
    arguments = (FREQUENCIES, features) if call == "start" else (features,)
    with pytest.raises(InputError, match=rf"{kind.__name__} looks for words in grid cells; set encoder\.grid=true"):
        getattr(random_detector(kind), call)(*arguments)


@pytest.mark.parametrize("kind", EVERY)
def test_half_precision_logits_are_joined_in_float32(kind):
    detector, features = random_detector(kind).bfloat16(), random_features().cast(torch.bfloat16)
    log_present, log_absent = detector.log_probs(features)
    assert log_present.dtype == log_absent.dtype == detector.maps(features).dtype == torch.float32


@pytest.mark.parametrize("kind", EVERY)
def test_dropout_is_on_the_features_in_training_alone(kind):
    detector, features = random_detector(kind), random_features()
    dropping = kind(feature_size=13, vocab_size=11, dropout=1.0)
    dropping.load_state_dict(detector.state_dict())
    zeros = ImageFeatures(torch.zeros_like(features.pooled), torch.zeros_like(features.grid))
    assert_close(dropping.log_probs(features), detector.log_probs(zeros))
    assert_close(dropping.eval().log_probs(features), detector.log_probs(features))


@pytest.mark.parametrize("kind", EVERY)
def test_a_detector_has_one_weight_for_each_feature_and_word_and_a_bias(kind):
    detector = kind(feature_size=1280, vocab_size=1000)
    assert sum(weight.numel() for weight in detector.parameters()) == 1_281_000
    assert not detector.head.weight.any()
