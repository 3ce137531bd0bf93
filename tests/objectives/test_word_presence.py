"""The loss of word presence is a sum over words and a mean over images, of the words of the first five captions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.encoders.detectors import MaxOverRegions, NoisyOr, WholeImage
from captioning.objectives import WordPresence, loss_means, word_labels
from captioning.text import SpecialTokens

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, unk=3)


def random_detector(kind=NoisyOr):
    torch.manual_seed(1)
    detector = kind(feature_size=13, vocab_size=11).double()
    for weight in detector.parameters():
        torch.nn.init.normal_(weight)
    return detector


def words_of(labels: torch.Tensor) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in labels]


def test_labels_are_the_words_of_each_image_s_captions(batch):
    assert words_of(word_labels(batch, 11, SPECIAL)) == [[4, 5, 8], [], [4, 5, 6, 7, 9, 10]]


def test_an_image_without_captions_has_no_words():
    batch = collate(("x", "y"), [[], [[1, 7, 2]]], pad=0)
    assert words_of(word_labels(batch, 11, SPECIAL)) == [[], [7]]


def test_only_an_image_s_first_five_captions_count_whatever_their_lengths():
    captions = [[1, 4, 2], [1, 5, 5, 2], [1, 4, 2], [1, 5, 2], [1, 6, 4, 4, 4, 2], [1, 7, 4, 4, 4, 4, 4, 2], [1, 8, 2]]
    batch = collate(("x", "y"), [captions, captions[::-1]], pad=0)
    assert words_of(word_labels(batch, 11, SPECIAL)) == [[4, 5, 6], [4, 5, 6, 7, 8]]


@pytest.mark.parametrize("special", [SPECIAL, SpecialTokens(pad=9, bos=10, eos=4, unk=6)])
def test_special_tokens_are_never_present(special):
    words = [i for i in range(11) if i not in vars(special).values()]
    captions = [
        [[special.bos, special.unk, words[0], special.eos], [special.bos, words[1]]],
        [[special.bos, special.eos]],
    ]
    batch = collate(("x", "y"), captions, pad=special.pad)
    assert words_of(word_labels(batch, 11, special)) == [words[:2], []]


def test_padding_of_captions_is_invisible(batch):
    padding = torch.arange(batch.tokens.shape[1] + 5) > batch.lengths[:, None]
    wider = torch.nn.functional.pad(batch.tokens, (0, 5)).masked_fill(padding, 9)
    assert torch.equal(word_labels(replace(batch, tokens=wider), 11, SPECIAL), word_labels(batch, 11, SPECIAL))


@pytest.mark.parametrize("kind", [NoisyOr, MaxOverRegions, WholeImage])
def test_the_loss_is_the_sum_over_words_of_a_mean_over_images(kind, features, batch):
    detector, features = random_detector(kind), features.cast(torch.float64)
    p, labels, expected = detector(features).tolist(), word_labels(batch, 11, SPECIAL).tolist(), 0.0
    for i in range(3):
        for word in range(11):
            expected -= math.log(p[i][word] if labels[i][word] else 1 - p[i][word]) / 3
    objective = WordPresence(SPECIAL)
    assert objective(detector, features, batch).item() == pytest.approx(expected, rel=1e-9)
    (mean,) = loss_means(objective, detector, features, batch)
    assert (mean.value.item(), mean.count) == (pytest.approx(expected, rel=1e-9), 3)


def test_the_gradient_of_a_region_s_logit_is_the_closed_form(features, batch):
    detector, features = random_detector(), replace(features.cast(torch.float64), mask=None)
    features.grid.requires_grad_()
    WordPresence(SPECIAL)(detector, features, batch).backward()
    p, y, sigma = (
        detector(features).tolist(),
        word_labels(batch, 11, SPECIAL).tolist(),
        detector.maps(features).tolist(),
    )
    of_bias, of_grid = torch.zeros(11, dtype=torch.float64), torch.zeros(3, 2, 13, dtype=torch.float64)
    for i in range(3):
        for j in range(2):
            for w in range(11):
                of_z = sigma[i][j][w] * (-(1 - p[i][w]) / p[i][w] if y[i][w] else 1) / 3
                of_bias[w] += of_z
                of_grid[i, j] += of_z * detector.head.weight[w].detach()
    assert_close(detector.head.bias.grad, of_bias)
    assert_close(features.grid.grad, of_grid)


def test_at_the_start_with_the_labels_frequencies_no_bias_moves(features, batch):
    detector = NoisyOr(feature_size=13, vocab_size=11).double()
    features = replace(features.cast(torch.float64), mask=None)
    labels = word_labels(batch, 11, SPECIAL)
    detector.start(labels.double().mean(0), features)
    WordPresence(SPECIAL)(detector, features, batch).backward()
    assert detector.head.bias.grad.abs().max() < 1e-5


def test_a_detector_learns_the_words_of_a_batch(features, batch):
    detector, objective = NoisyOr(feature_size=13, vocab_size=11), WordPresence(SPECIAL)
    labels = word_labels(batch, 11, SPECIAL)
    detector.start(labels.float().mean(0), features)
    optimizer = torch.optim.Adam(detector.parameters(), 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        objective(detector, features, batch).backward()
        optimizer.step()
    assert torch.equal(detector(features) > 0.5, labels)
