"""The objective that also predicts the object in each grid cell and the words of the captions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from captioning.decoders import MRNN
from captioning.encoders.features import Objects
from captioning.errors import InputError
from captioning.objectives import CaptionAndObjects, CrossEntropy
from captioning.objectives.caption_and_objects import objects_in_cells

NAMES = ["cat", "dog", "sofa"]


@pytest.fixture
def seen(features):
    """Features with a grid of 2 x 2 cells."""
    random = torch.Generator().manual_seed(2)
    halves = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 0.5]]]).expand(3, -1, -1)
    objects = replace(features.objects, boxes=halves)
    return replace(features, grid=torch.randn(3, 4, 13, generator=random), mask=None, objects=objects)


def build(**settings):
    torch.manual_seed(0)
    decoder = MRNN(feature_size=13, vocab_size=11).eval()
    return decoder, CaptionAndObjects(feature_size=13, vocab_size=11, categories=NAMES, **settings)


def boxes(*things: tuple[int, tuple[float, float, float, float]]) -> Objects:
    categories = torch.tensor([[category for category, _ in things]])
    return Objects(
        categories, torch.tensor([[box for _, box in things]]), torch.ones_like(categories, dtype=torch.bool)
    )


def test_a_grid_cell_shows_the_object_whose_box_contains_its_centre():
    # The centres of a 3 x 3 grid are at 1/6, 1/2 and 5/6.
    objects = boxes((2, (0.4, 0.0, 0.6, 0.3)), (0, (0.0, 0.7, 0.2, 0.3)))
    assert objects_in_cells(objects, 9).view(3, 3).tolist() == [[0, 3, 3], [0, 0, 0], [1, 0, 0]]


def test_an_object_without_a_cell_s_centre_is_in_the_cell_of_its_own_centre():
    objects = boxes((2, (0.0, 0.0, 0.1, 0.1)), (0, (0.96, 0.5, 0.04, 0.1)), (1, (1.0, 1.0, 0.0, 0.0)))
    assert objects_in_cells(objects, 9).view(3, 3).tolist() == [[3, 0, 0], [0, 0, 1], [0, 0, 2]]


def test_of_two_objects_the_smaller_one_is_shown_whatever_their_order():
    large, small = (1, (0.0, 0.0, 1.0, 1.0)), (2, (0.0, 0.0, 0.5, 0.5))
    for objects in (boxes(large, small), boxes(small, large)):
        assert objects_in_cells(objects, 4).tolist() == [[3, 2, 2, 2]]


def test_what_is_no_object_is_not_shown():
    objects = replace(boxes((1, (0.0, 0.0, 1.0, 1.0))), mask=torch.tensor([[False]]))
    assert objects_in_cells(objects, 4).tolist() == [[0, 0, 0, 0]]


def test_adds_the_cross_entropy_of_cells_and_of_words(batch, seen):
    decoder, objective = build(objects=0.7, words=0.3)
    shown = objective.place(seen.grid).detach().double().softmax(2)
    labels = objects_in_cells(seen.objects, 4)
    said = objective.word(seen.pooled).detach().double().sigmoid()
    cells = words = 0.0
    for row in range(3):
        cells -= sum(math.log(shown[row, j, labels[row, j]]) for j in range(4)) / 12
        present = {
            int(token)
            for n, image in enumerate(batch.image_index.tolist())
            if image == row
            for token in batch.tokens[n, 1 : 1 + int(batch.lengths[n])]
        }
        words -= sum(math.log(said[row, w] if w in present else 1 - said[row, w]) for w in range(11)) / 3
    captions = CrossEntropy()(decoder, seen, batch).item()
    assert labels.any()
    assert objective(decoder, seen, batch).item() == pytest.approx(captions + 0.7 * cells + 0.3 * words, abs=1e-5)


def test_its_gradient_reaches_the_grid_and_the_pooled_feature_without_the_captions(batch, seen):
    decoder, objective = build()
    given = replace(seen, pooled=seen.pooled.clone().requires_grad_(), grid=seen.grid.clone().requires_grad_())
    (objective(decoder, given, batch) - objective.captions(decoder, given, batch)).backward()
    for gradient in (given.pooled.grad, given.grid.grad):
        assert (gradient.flatten(1).norm(dim=1) > 0.01).all()


def test_it_says_what_it_needs(batch, seen):
    decoder, objective = build()
    for lacking in ({"grid": None}, {"objects": None}):
        with pytest.raises(InputError, match=r"encoder\.grid=true and data\.objects=true"):
            objective(decoder, replace(seen, **lacking), batch)
    with pytest.raises(InputError, match="3 grid cells do not form a square"):
        objective(decoder, replace(seen, grid=seen.grid[:, :3]), batch)


def test_cells_and_objects_that_are_not_real_are_not_counted(batch, seen):
    mask = torch.tensor([[True] * 4, [True, False, True, False], [True] * 4])
    decoder, objective = build()
    cells = objects_in_cells(seen.objects, 4)
    log_p = objective.place(seen.grid).log_softmax(2).gather(2, cells[..., None])[..., 0]
    expected = None
    for padding in (0.0, torch.nan):
        other = replace(
            seen,
            grid=seen.grid.masked_fill(~mask[..., None], padding),
            mask=mask,
            objects=replace(seen.objects, boxes=seen.objects.boxes.masked_fill(~seen.objects.mask[..., None], padding)),
        )
        objective.zero_grad()
        captions, objects, words = objective.means(decoder, other, batch)
        assert objects.value.item() == pytest.approx(-log_p[mask].mean().item(), abs=1e-6)
        assert (captions.count, objects.count, words.count) == (17, 10, 3)
        (captions.value + objects.value + words.value).backward()
        gradients = [p.grad.clone() for p in objective.parameters()]
        expected = expected or gradients
        torch.testing.assert_close(gradients, expected, rtol=0, atol=0)
