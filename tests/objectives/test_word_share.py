"""The loss of word shares counts an image's captions that have a word."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.encoders.detectors import NoisyOr, WholeImage
from captioning.encoders.features import ImageFeatures
from captioning.objectives import WordPresence, WordShare, word_shares
from captioning.text import SpecialTokens

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
BOS, EOS = SPECIAL.bos, SPECIAL.eos


@given(st.lists(st.lists(st.lists(st.integers(3, 9), max_size=5), max_size=7), min_size=1, max_size=4))
def test_shares_are_counted_over_the_first_five_captions(words: list[list[list[int]]]) -> None:
    captions = [[[BOS, *caption, EOS] for caption in image] for image in words]
    if not any(captions):
        return  # there is nothing to pad
    shares = word_shares(collate(tuple(range(len(words))), captions, pad=SPECIAL.pad), 10, SPECIAL)
    for row, image in enumerate(words):
        first = image[:5]
        for word in range(10):
            expected = sum(word in caption for caption in first) / max(1, len(first)) if word > 3 else 0.0
            assert shares[row, word].item() == torch.tensor(expected).item()


def test_the_loss_is_that_of_a_loop(batch, features: ImageFeatures) -> None:
    torch.manual_seed(1)
    detector = NoisyOr(feature_size=13, vocab_size=11).double()
    torch.nn.init.normal_(detector.head.weight)
    features = features.cast(torch.float64)
    p, shares = detector(features), word_shares(batch, 11, SPECIAL).double()
    expected = -sum(
        (s * q.log() + (1 - s) * (1 - q).log()) for s, q in zip(shares.flatten(), p.flatten(), strict=True)
    ) / len(p)
    assert_close(WordShare(SPECIAL)(detector, features, batch), expected)


def test_with_one_caption_it_is_the_loss_of_presence() -> None:
    torch.manual_seed(1)
    batch = collate(("x", "y"), [[[1, 4, 5, 4, 2]], [[1, 6, 2]]], pad=0)
    detector = WholeImage(feature_size=13, vocab_size=7)
    torch.nn.init.normal_(detector.head.weight)
    features = ImageFeatures(torch.randn(2, 13))
    assert_close(WordShare(SPECIAL)(detector, features, batch), WordPresence(SPECIAL)(detector, features, batch))


def test_an_image_without_regions_and_words_costs_nothing() -> None:
    batch = collate(("x", "y"), [[[1, 4, 2]], [[1, 2]]], pad=0)
    detector = NoisyOr(feature_size=3, vocab_size=6)
    mask = torch.tensor([[True, True], [False, False]])
    features = ImageFeatures(torch.zeros(2, 3), torch.randn(2, 2, 3), mask)
    alone = collate(("x",), [[[1, 4, 2]]], pad=0)
    loss = WordShare(SPECIAL)(detector, ImageFeatures(torch.zeros(1, 3), features.grid[:1]), alone)
    assert_close(WordShare(SPECIAL)(detector, features, batch), loss / 2)


def test_it_is_smallest_where_a_probability_is_the_share() -> None:
    batch = collate(("x",), [[[1, 4, 2], [1, 4, 2], [1, 5, 2], [1, 4, 5, 2]]], pad=0)
    detector, features = WholeImage(feature_size=2, vocab_size=6).double(), ImageFeatures(torch.zeros(1, 2).double())
    optimizer = torch.optim.LBFGS([detector.head.bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = WordShare(SPECIAL)(detector, features, batch)
        found.backward()
        return found

    optimizer.step(loss)
    assert_close(detector(features)[0, 4:], torch.tensor([3 / 4, 1 / 2]), atol=1e-3, rtol=0, check_dtype=False)
