"""What holds for the hypotheses of every search on every decoder."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch.nn.utils.rnn import pad_packed_sequence
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.objectives import token_losses
from captioning.search import BeamSearch, GreedySearch, Hypotheses, Sampling

SEARCHES = {
    "greedy": GreedySearch(max_length=9),
    "beam": BeamSearch(max_length=9, beam_size=3, num_best=3),
    "normalized": BeamSearch(max_length=9, beam_size=3, num_best=2, length_normalization=1.0),
    "sampling": Sampling(max_length=9, num_samples=3),
    "nucleus": Sampling(max_length=9, num_samples=2, temperature=2.0, top_k=5, top_p=0.8),
}
DISTINCT = {name: search for name, search in SEARCHES.items() if not isinstance(search, Sampling)}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request):
    return request.param


@pytest.fixture
def features(features):
    """Images that are far apart, so that their captions differ."""
    return replace(features, pooled=3 * features.pooled, grid=3 * features.grid)


def count(search) -> int:
    """n, the hypotheses that it finds of an image."""
    return vars(search).get("num_best") or vars(search).get("num_samples") or 1


def assert_same_image(found: Hypotheses, image: int, expected: Hypotheses, other: int) -> None:
    """Image `image` of one search equals image `other` of another, which may have run for more steps."""
    steps = min(found.tokens.shape[2], expected.tokens.shape[2])
    for field in fields(Hypotheses):
        a, b = getattr(found, field.name)[image], getattr(expected, field.name)[other]
        if a.dim() == 2:
            assert not a[:, steps:].any()  # `<pad>` is 0, and so are its scores
            assert not b[:, steps:].any()
            a, b = a[:, :steps], b[:, :steps]
        assert_close(a, b, **EXACT)


def test_the_contract(search, decoder, features, special):
    found = search(decoder, features, special)
    num_images, n, steps = found.tokens.shape
    assert (num_images, n) == (3, count(search))
    assert found.tokens.dtype == found.lengths.dtype == torch.int64
    assert found.scores.dtype == found.token_scores.dtype == torch.float32
    assert found.token_scores.shape == found.tokens.shape
    assert found.lengths.shape == found.scores.shape == found.finished.shape == (3, n)
    assert found.lengths.max() <= steps <= 9
    real = torch.arange(steps) < found.lengths[..., None]
    last = torch.arange(steps) == found.lengths[..., None] - 1
    assert found.tokens[~real].eq(special.pad).all()
    assert found.token_scores[~real].eq(0).all()
    assert not torch.isin(found.tokens[real], torch.tensor([special.pad, special.bos, special.unk])).any()
    assert (found.tokens.eq(special.eos) == (last & found.finished[..., None])).all()
    assert found.lengths[~found.finished].eq(9).all()
    ranks = found.scores / found.lengths ** getattr(search, "length_normalization", 0.0)
    order = torch.where(found.finished, ranks, ranks - 1e6)  # unfinished ones behind
    assert order.diff(dim=1).le(1e-6).all()


@pytest.mark.parametrize("search", DISTINCT.values(), ids=DISTINCT)
def test_hypotheses_of_an_image_differ(search, decoder, features, special):
    for tokens in search(decoder, features, special).tokens:
        assert len(tokens.unique(dim=0)) == len(tokens)


def test_a_hypothesis_scored_by_teacher_forcing_gives_its_scores(search, decoder, features, special):
    found = search(decoder, features, special)
    captions = [
        [[special.bos, *ids[:length]] for ids, length in zip(*image, strict=True)]
        for image in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
    ]
    batch = collate(("x", "y", "z"), captions, pad=special.pad)
    scores = -token_losses(decoder, features, batch)
    forced, _ = pad_packed_sequence(batch.targets()._replace(data=scores), batch_first=True)
    rows = found.lengths.flatten().argsort(descending=True, stable=True)  # as collate sorts them
    steps = forced.shape[1]
    assert_close(found.token_scores.flatten(0, 1)[rows, :steps], forced, **EXACT)
    assert_close(found.scores.flatten()[rows], forced.sum(1), **EXACT)


def test_neighbours_are_invisible(search, decoder, features, special):
    together = search(decoder, features, special)
    for rows in ([0], [1], [2], [2, 1, 0], [1, 1, 2, 0, 1, 0, 0]):
        other = search(decoder, features.rows(torch.tensor(rows)), special)
        for place, image in enumerate(rows):
            assert_same_image(other, place, together, image)


def test_a_beam_of_one_is_greedy(decoder, features, special):
    greedy = GreedySearch(max_length=9)(decoder, features, special)
    beam = BeamSearch(max_length=9, beam_size=1)(decoder, features, special)
    for image in range(3):
        assert_same_image(beam, image, greedy, image)


def test_no_images_have_no_captions(search, decoder, features, special):
    none = search(decoder, features.rows(torch.zeros(0, dtype=torch.int64)), special)
    assert none.tokens.shape[0] == none.scores.shape[0] == none.finished.shape[0] == 0
    assert none.tokens.shape[1] == none.lengths.shape[1] == count(search)


def test_what_is_found_may_be_trained_on(search, decoder, features, special):
    first = search(decoder, features, special).tokens[:, 0, :1]
    logits, _ = decoder.step(torch.full((3,), special.bos), decoder.start(features))
    logits.log_softmax(1).gather(1, first).sum().backward()
