"""Rules for the hypotheses of every search, on one decoder of each class or of each kind of state."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from torch.nn.utils.rnn import pad_packed_sequence
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.errors import InputError
from captioning.objectives import token_losses
from captioning.search import (
    BeamSearch,
    ConstrainedBeamSearch,
    DiverseBeamSearch,
    Forbid,
    Gnmt,
    GreedySearch,
    Hypotheses,
    NoRepeatNgrams,
    Reward,
    Sampling,
    StochasticBeamSearch,
)
from captioning.search.length_rules import as_rule

SEARCHES = {
    "greedy": GreedySearch(max_length=9),
    "beam": BeamSearch(max_length=9, beam_size=3, num_best=3),
    "normalized": BeamSearch(max_length=9, beam_size=3, num_best=2, length_normalization=1.0),
    "gnmt": BeamSearch(max_length=9, beam_size=3, num_best=3, length_normalization=Gnmt(0.7)),
    "reward": BeamSearch(max_length=9, beam_size=3, num_best=2, length_normalization=Reward(0.5)),
    "no repeats": BeamSearch(max_length=9, beam_size=3, num_best=2, processors=[NoRepeatNgrams(2)]),
    "diverse": DiverseBeamSearch(max_length=9, beam_size=6, num_groups=2, num_best=3, diversity=50.0),
    "constrained": ConstrainedBeamSearch(max_length=9, required=[[[4]], [[7, 9], [8]]], beam_size=3, num_best=2),
    "stochastic": StochasticBeamSearch(max_length=9, num_samples=4),
    "sampling": Sampling(max_length=9, num_samples=3),
    "nucleus": Sampling(max_length=9, num_samples=2, temperature=2.0, top_k=5, top_p=0.8),
    "min-p": Sampling(max_length=9, num_samples=2, min_p=0.1),
    "typical": Sampling(max_length=9, num_samples=2, typical_p=0.5),
}
DISTINCT = {name: search for name, search in SEARCHES.items() if not isinstance(search, Sampling)}
EXACT = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request):
    return request.param


@pytest.fixture
def features(features):
    """Features that are far apart, so that the captions differ."""
    return replace(features, pooled=3 * features.pooled, grid=3 * features.grid)


def count(search) -> int:
    """n, the number of hypotheses per image."""
    settings = search.settings()
    return settings.get("num_best") or settings.get("num_samples") or 1


def assert_same_image(found: Hypotheses, image: int, expected: Hypotheses, other: int) -> None:
    """Compare image `image` of one search with image `other` of another, which may have taken more steps."""
    steps = min(found.tokens.shape[2], expected.tokens.shape[2])
    for field in fields(Hypotheses):
        a, b = getattr(found, field.name)[image], getattr(expected, field.name)[other]
        if a.dim() == 2:
            assert not a[:, steps:].any()  # `<pad>` is 0, and so are its scores
            assert not b[:, steps:].any()
            a, b = a[:, :steps], b[:, :steps]
        assert_close(a, b, **EXACT)


def test_shapes_dtypes_padding_and_order(search, a_decoder, features, special):
    found = search(a_decoder, features, special)
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
    ranks = as_rule(getattr(search, "length_normalization", 0.0)).rank(found.scores, found.lengths)
    order = torch.where(found.finished, ranks, ranks - 1e6)  # unfinished ones come last
    assert order.diff(dim=1).le(1e-6).all()


@pytest.mark.parametrize("search", DISTINCT.values(), ids=DISTINCT)
def test_hypotheses_of_an_image_differ(search, a_decoder, features, special):
    for tokens in search(a_decoder, features, special).tokens:
        assert len(tokens.unique(dim=0)) == len(tokens)


def test_a_hypothesis_scored_by_teacher_forcing_gives_its_scores(search, one_decoder, features, special):
    found = search(one_decoder, features, special)
    captions = [
        [[special.bos, *ids[:length]] for ids, length in zip(*image, strict=True)]
        for image in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
    ]
    batch = collate(("x", "y", "z"), captions, pad=special.pad)
    scores = -token_losses(one_decoder, features, batch)
    forced, _ = pad_packed_sequence(batch.targets()._replace(data=scores), batch_first=True)
    rows = found.lengths.flatten().argsort(descending=True, stable=True)  # as collate sorts them
    steps = forced.shape[1]
    assert_close(found.token_scores.flatten(0, 1)[rows, :steps], forced, **EXACT)
    assert_close(found.scores.flatten()[rows], forced.sum(1), **EXACT)


def test_neighbours_are_invisible(search, one_decoder, features, special):
    together = search(one_decoder, features, special)
    for rows in ([0], [1], [2], [2, 1, 0], [1, 1, 2, 0, 1, 0, 0]):
        other = search(one_decoder, features.rows(torch.tensor(rows)), special)
        for row, image in enumerate(rows):
            assert_same_image(other, row, together, image)


def test_a_beam_of_one_is_greedy(one_decoder, features, special):
    greedy = GreedySearch(max_length=9)(one_decoder, features, special)
    beam = BeamSearch(max_length=9, beam_size=1)(one_decoder, features, special)
    for image in range(3):
        assert_same_image(beam, image, greedy, image)


def test_no_images_get_no_captions(search, a_decoder, features, special):
    none = search(a_decoder, features.rows(torch.zeros(0, dtype=torch.int64)), special)
    assert none.tokens.shape[0] == none.scores.shape[0] == none.finished.shape[0] == 0
    assert none.tokens.shape[1] == none.lengths.shape[1] == count(search)


def test_the_hypotheses_may_be_used_in_training(search, a_decoder, features, special):
    first = search(a_decoder, features, special).tokens[:, 0, :1]
    logits, _ = a_decoder.step(torch.full((3,), special.bos), a_decoder.start(features))
    logits.log_softmax(1).gather(1, first).sum().backward()


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_search_is_a_frozen_dataclass_of_its_settings(search):
    assert type(search)(**search.settings()) == search
    assert set(search.settings()) == set(inspect.signature(type(search)).parameters)
    longer = replace(search, max_length=10, processors=[Forbid([4])])
    assert (longer.max_length, longer.processors, search.max_length) == (10, (Forbid([4]),), 9)
    with pytest.raises(FrozenInstanceError):
        search.max_length = 10
    with pytest.raises(InputError, match="max_length=0 must be at least 1"):
        replace(search, max_length=0)
