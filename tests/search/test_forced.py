"""Searches whose first tokens are given, against exhaustive search."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from captioning.errors import InputError
from captioning.search import BeamSearch, Forbid, GreedySearch, Sampling
from captioning.search.forced import continued


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_wide_search_finds_the_most_probable_caption_with_each_prefix(random_chain, special, length):
    decoder, longest = random_chain(2, 2, 4, seed=5), 4
    words = [special.eos, 4, 5]
    prefixes = [p for p in product(words, repeat=length) if special.eos not in p[:-1]]
    images = torch.arange(len(prefixes)) % 2
    search = BeamSearch(beam_size=100, max_length=longest)
    found = continued(search, decoder, decoder.features.rows(images), special, prefixes)
    tables = decoder.tables.double().log_softmax(3)
    for prefix, image, tokens, size, score in zip(
        prefixes, images.tolist(), found.tokens[:, 0].tolist(), found.lengths[:, 0], found.scores[:, 0], strict=True
    ):
        scores = {}
        for caption in (c for n in range(1, longest + 1) for c in product(words, repeat=n)):
            if caption[-1] != special.eos or special.eos in caption[:-1] or caption[:length] != prefix:
                continue
            before = (special.bos, *caption[:-1])
            scores[caption] = sum(
                tables[image, t, a, b].item() for t, (a, b) in enumerate(zip(before, caption, strict=True))
            )
        best = max(scores, key=scores.__getitem__)
        assert tuple(tokens[:size]) == best
        assert score.item() == pytest.approx(scores[best], abs=1e-4)  # the prefix counts


def test_a_batch_finds_what_each_image_finds_alone(random_chain, special):
    decoder = random_chain(1, 5, 9, seed=2)
    prefixes = [(4, 7), (5, 5), (8, 2), (6, 4)]
    search = BeamSearch(beam_size=3, max_length=9, length_normalization=1.0)
    features = decoder.features.rows(torch.zeros(4, dtype=torch.int64))
    together = continued(search, decoder, features, special, prefixes)
    for i, prefix in enumerate(prefixes):
        alone = continued(search, decoder, decoder.features, special, [prefix])
        length = int(alone.lengths[0, 0])
        assert together.tokens[i, 0, :length].tolist() == alone.tokens[0, 0, :length].tolist()
        assert together.scores[i, 0] == pytest.approx(alone.scores[0, 0])
        assert tuple(alone.tokens[0, 0, :2].tolist()) == prefix


@pytest.mark.parametrize("search", [GreedySearch(max_length=9), Sampling(max_length=9, num_samples=3)])
def test_other_searches_keep_the_prefix_too(random_chain, special, search):
    decoder = random_chain(1, 5, 9, seed=2)
    found = continued(search, decoder, decoder.features, special, [(4, 7)])
    assert (found.tokens[0, :, :2] == torch.tensor([4, 7])).all()


def test_a_prefix_that_the_search_forbids_has_no_caption(random_chain, special):
    decoder = random_chain(1, 5, 9, seed=2)
    found = continued(BeamSearch(processors=[Forbid([4])], max_length=9), decoder, decoder.features, special, [(4,)])
    assert found.lengths.tolist() == [[0]]


@pytest.mark.parametrize("prefixes", [[(4,), (4, 5)], [(4,)], []])
def test_prefixes_of_several_lengths_or_of_other_images_are_refused(random_chain, special, prefixes):
    decoder = random_chain(2, 5, 9, seed=2)
    with pytest.raises(InputError, match="a prefix of each of 2 images, all of one length"):
        continued(BeamSearch(), decoder, decoder.features, special, prefixes)
