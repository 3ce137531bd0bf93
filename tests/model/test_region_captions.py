"""Captions of regions: those of the cells' own vectors, joined where they are the same."""

from __future__ import annotations

import pytest
import torch

from captioning import Captioner
from captioning.decoders import FC
from captioning.encoders import GridCells, ImageFeatures, SmallCNN, Standardise
from captioning.errors import InputError
from captioning.model.caption import Caption
from captioning.model.region_captions import CaptionedRegions, RegionCaption, _joined, caption_regions, draw_regions
from captioning.recurrent import GRU
from captioning.search import GreedySearch
from captioning.text import Tokenizer


@pytest.fixture
def captioner(tokenizer: Tokenizer) -> Captioner:
    """A captioner of regions of 16 x 24 pixels, in 2 x 3 cells or more, which has learned nothing."""
    torch.manual_seed(1)
    encoder = GridCells(encoder=SmallCNN((16, 24), channels=(8, 16), grid=True))
    width = encoder.feature_size
    decoder = FC(feature_size=width, vocab_size=len(tokenizer), embedding_size=7, hidden_size=7, recurrent=GRU)
    for weight in decoder.parameters():
        torch.nn.init.uniform_(weight, -2, 2)
    standardise = Standardise(width)
    standardise.fit([ImageFeatures(torch.rand(50, width))])  # of pooled rows: a store of regions has no grid
    return Captioner(
        encoder, decoder, tokenizer, standardise=standardise, search=GreedySearch(max_length=3, allow_unknown=True)
    ).eval()


def test_each_cell_has_the_caption_of_its_own_vector_scaled_as_in_training(captioner):
    images = torch.rand(2, 3, 16, 24)
    found = caption_regions(captioner, images, most=1000)
    with torch.no_grad():
        grid = captioner.encoder(images).grid
    texts = set()
    for own, cells in zip(found, grid, strict=True):
        expected = [captioner.decode_features(ImageFeatures(cell[None]))[0] for cell in cells]
        assert own.shape[0] * own.shape[1] == len(cells) and own.shape[0] < own.shape[1]
        assert sorted(cell for region in own.regions for cell in region.cells) == list(range(len(cells)))
        for region in own.regions:
            assert {expected[cell].text for cell in region.cells} == {region.text}
            scores = [expected[cell].score for cell in region.cells]
            mean = sum(scores) / len(scores) / (len(region.text.split()) + 1)
            assert region.score == pytest.approx(mean, rel=1e-4)
        texts |= {region.text for region in own.regions}
    assert len(texts) > 1


def test_the_model_s_mode_and_the_images_of_a_batch_change_nothing(captioner):
    images = torch.rand(3, 3, 16, 24)
    together = caption_regions(captioner.train(), images, most=2)
    assert captioner.training
    alone = [caption_regions(captioner.eval(), image[None], most=2)[0] for image in images]
    assert [[r.cells for r in own.regions] for own in together] == [[r.cells for r in own.regions] for own in alone]


def test_the_best_scored_texts_are_kept_and_the_end_is_a_word():
    captions = [
        Caption("a dog", -3.0, True),
        Caption("grass", -1.0, True),
        Caption("a dog", -6.0, True),
        Caption("a red ball", -8.0, True),
    ]
    assert _joined(captions, 2) == (RegionCaption("grass", -0.5, (1,)), RegionCaption("a dog", -1.5, (0, 2)))


def test_a_captioner_of_images_is_refused(captioner):
    other = Captioner(captioner.encoder.encoder, captioner.decoder, captioner.tokenizer)
    with pytest.raises(InputError, match=r"encoder is SmallCNN, and its captions are of whole images; use a captioner"):
        caption_regions(other, torch.rand(1, 3, 16, 24), most=2)


def test_a_drawing_has_the_cells_of_each_region_and_its_caption():
    regions = (RegionCaption("a $5 dog$", -0.5, (0, 4)), RegionCaption("grass", -1.25, (5,)))
    figure = draw_regions(torch.rand(3, 14, 33), CaptionedRegions(regions, (2, 3)))
    image, captions = figure.axes
    corners = [(patch.get_x(), patch.get_y()) for patch in image.patches]
    assert corners == [(0, 0), (11, 7), (22, 7)]
    assert {(patch.get_width(), patch.get_height()) for patch in image.patches} == {(11, 7)}
    assert [text.get_text() for text in image.texts] == ["1", "1", "2"]
    assert [text.get_text() for text in captions.texts] == ["1: a $5 dog$ (-0.50)", "2: grass (-1.25)"]
    figure.canvas.draw()  # a caption is no formula
