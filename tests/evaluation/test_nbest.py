"""What a search finds becomes M-best lists: captions, counts, losses, and every feature beside a plain computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioning import Aligner, Captioner
from captioning.data import CaptionDataModule, Loading, Splits
from captioning.data.batch import collate
from captioning.data.readers import Coco
from captioning.decoders import MRNN, VisualConcepts
from captioning.decoders.ngrams import observed_ngrams
from captioning.encoders import SmallCNN
from captioning.encoders.blind import Blind
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.evaluation import nbest
from captioning.evaluation.nbest import as_nbest, check_consensus, concepts_of, consensus_scores, find, similarities
from captioning.evaluation.retrieval import sentence_log_probs
from captioning.matchers import SentenceVector
from captioning.metrics import tokenize
from captioning.metrics.cider import Cider
from captioning.metrics.document_frequencies import DocumentFrequencies
from captioning.objectives import token_losses
from captioning.reranking.features import FEATURES
from captioning.search import BeamSearch, CoveringSearch
from captioning.search.hypotheses import Hypotheses, Search
from captioning.text import train_words

SPLIT = "test"
WORDS = 5
"""W, the words that `Detecting` looks for."""


class Detecting(SmallCNN):
    """A CNN whose first channels pass for the probabilities of words."""

    def forward(self, images: torch.Tensor) -> ImageFeatures:
        features = super().forward(images)
        return replace(features, words=torch.sigmoid(2 * features.pooled[:, :WORDS]))


@dataclass(frozen=True, kw_only=True)
class Given(Search):
    """Finds the same hypotheses in every image."""

    tokens: Any
    scores: Any
    max_length: int = 5
    allow_unknown: bool = False
    processors: Sequence[Any] = ()

    def __call__(self, decoder: Any, features: ImageFeatures, special: Any) -> Hypotheses:
        count = len(features)
        tokens, scores = torch.tensor(self.tokens).repeat(count, 1, 1), torch.tensor(self.scores).repeat(count, 1)
        ended = (tokens == special.eos).any(2)
        return Hypotheses(tokens, (tokens != special.pad).sum(2), scores, torch.zeros_like(tokens).float(), ended)


@pytest.fixture(scope="module")
def splits(scenes: Path) -> Splits:
    return Splits(Coco(str(scenes)))


def captioner_of(splits: Splits, encoder: Any = None, concepts: Sequence[int] | None = None) -> Captioner:
    torch.manual_seed(0)
    tokenizer = train_words(splits.captions("train"), min_count=1)
    encoder = (encoder or SmallCNN((16, 16), channels=(8, 8))).eval()
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    if concepts is None:
        decoder: Any = MRNN(**sizes)
    else:
        ids = tokenizer.encode(splits.captions("train"))
        codes = observed_ngrams(ids, vocab_size=len(tokenizer), order=2)
        decoder = VisualConcepts(**sizes, concepts=concepts, num_ngrams=[len(codes[0])], order=2)
        decoder.observe(codes)
        torch.nn.init.constant_(decoder.attribute, 2.0)  # prefers detected words
    return Captioner(encoder, decoder, tokenizer).eval()


def data_of(model: Any, splits: Splits, split: str = SPLIT) -> CaptionDataModule:
    given = {"encoder": model.encoder, "transform": model.transform, "tokenizer": model.tokenizer}
    return CaptionDataModule(splits, Loading(split=split, eval_batch_size=3), **given)


@pytest.fixture(scope="module")
def captioner(splits: Splits) -> Captioner:
    return captioner_of(splits)


@pytest.fixture(scope="module")
def found(captioner: Captioner, splits: Splits) -> list[nbest.Found]:
    return find(captioner, BeamSearch(beam_size=4, num_best=4, max_length=6), data_of(captioner, splits))


def test_captions_are_those_of_the_search_with_the_probability_that_the_decoder_gives_them(
    captioner: Captioner, splits: Splits, found: list[nbest.Found]
) -> None:
    images = splits.images(SPLIT)
    assert [own.image_id for own in found] == [image.image_id for image in images]
    best = captioner.caption([image.path for image in images], search=BeamSearch(beam_size=4, max_length=6))
    assert [own.captions[0] for own in found] == [caption.text for caption in best]
    for own, image in zip(found, images, strict=True):
        features = captioner.encode(captioner.pixels([image.path]))
        sentences = captioner.tokenizer.encode(own.captions)
        ended = sentence_log_probs(captioner.decoder, features, sentences)[0].tolist()
        cut = sentence_log_probs(captioner.decoder, features, [ids[:-1] for ids in sentences])[0].tolist()
        for score, *both in zip(own.log_likelihoods, ended, cut, strict=True):
            assert min(abs(score - either) for either in both) < 1e-4
        assert len(set(own.captions)) == len(own.captions) == 4 - own.num_equal


def test_the_loss_is_that_of_the_image_s_references(
    captioner: Captioner, splits: Splits, found: list[nbest.Found]
) -> None:
    for own, image in zip(found, splits.images(SPLIT), strict=True):
        features = captioner.encode(captioner.pixels([image.path]))
        ids = captioner.tokenizer.encode(list(image.captions))
        with torch.no_grad():
            expected = token_losses(captioner.decoder, features, collate([0], [ids], pad=0)).sum().item()
        assert own.loss == pytest.approx(expected, rel=1e-5)
        assert own.num_tokens == sum(len(caption) - 1 for caption in ids)


def given(captioner: Captioner) -> Given:
    """Four hypotheses, of which the second has the text of the first, the third is truncated, and the last is none."""
    special, (a, b) = captioner.tokenizer.special, range(4, 6)
    tokens = [[a, b, special.eos], [a, b, special.eos], [b, a, b], [special.pad] * 3]
    return Given(tokens=tokens, scores=[-1.5, -2.5, -3.5, -math.inf])


def test_equal_captions_are_kept_once_and_counted(captioner: Captioner, splits: Splits) -> None:
    a, b = captioner.tokenizer.vocabulary[4:6]
    found = find(captioner, given(captioner), data_of(captioner, splits))
    assert len(found) == 8
    for own in found:
        assert own.captions == (f"{a} {b}", f"{b} {a} {b}")
        assert own.log_likelihoods == (-1.5, -3.5)
        assert (own.num_equal, own.num_unfinished, own.said) == (1, 1, None)


def test_an_image_without_any_caption_is_named(captioner: Captioner, splits: Splits) -> None:
    nothing = replace(given(captioner), scores=[-math.inf] * 4)
    first = splits.images(SPLIT)[0].image_id
    with pytest.raises(InputError, match=f"found no caption of image {first}"):
        find(captioner, nothing, data_of(captioner, splits))


CONCEPTS = (5, -1, 4, 9, 7)


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(beam_size=7, num_best=7, max_length=8),
        CoveringSearch(concepts=CONCEPTS, beam_size=9, num_best=6, num_words=2, num_common=3, max_length=8),
    ],
)
def test_captions_say_the_words_that_their_own_image_shows(splits: Splits, search: Search) -> None:
    captioner = captioner_of(splits, Detecting((16, 16), channels=(8, 8)), CONCEPTS)
    found = find(captioner, search, data_of(captioner, splits))
    vocabulary, counts = captioner.tokenizer.vocabulary, set()
    for own, image in zip(found, splits.images(SPLIT), strict=True):
        words = captioner.encode(captioner.pixels([image.path])).words
        assert words is not None
        shown = {vocabulary[i] for i, p in zip(CONCEPTS, words[0].tolist(), strict=True) if i >= 0 and p >= 0.5}
        said = tuple(len(shown & set(caption.split())) for caption in own.captions)
        assert own.said == said
        counts |= set(said)
    assert len(counts) > 1  # or the images would not differ
    lists = as_nbest(found)
    assert lists.names == FEATURES[:-1]
    says = lists.values[:, 4:]
    assert says.argmax(1).tolist() == [x for own in found for x in own.said or ()]
    assert (says.sum(1) == 1).all()


def test_the_words_are_those_of_the_search_or_else_of_the_decoder_or_else_of_the_detector(splits: Splits) -> None:
    decoder: Any = captioner_of(splits, Detecting((16, 16), channels=(8, 8)), CONCEPTS).decoder
    of_search = concepts_of(decoder, CoveringSearch(concepts=[8, 9], threshold=0.3))
    assert of_search is not None
    assert (of_search.ids, of_search.threshold) == ((8, 9), 0.3)
    assert concepts_of(decoder, CoveringSearch()) is concepts_of(decoder, BeamSearch()) is decoder.concepts
    assert concepts_of(decoder, BeamSearch(), [6, 7]) is decoder.concepts
    other = MRNN(feature_size=3, vocab_size=9)
    of_detector = concepts_of(other, BeamSearch(), [6, -1])
    assert of_detector is not None
    assert (of_detector.ids, of_detector.threshold) == ((6, -1), 0.5)
    assert concepts_of(other, BeamSearch()) is None


def test_a_matcher_scores_each_caption_with_its_own_image(splits: Splits, found: list[nbest.Found]) -> None:
    torch.manual_seed(1)
    tokenizer = train_words(splits.captions("train"), min_count=3)  # not the captioner's
    encoder = SmallCNN((24, 24), channels=(8, 16)).eval()
    matcher = SentenceVector(feature_size=encoder.feature_size, vocab_size=len(tokenizer), recurrent=None)
    aligner = Aligner(encoder, matcher, tokenizer).eval()
    scores = similarities(aligner, data_of(aligner, splits), found)
    for own, row, image in zip(found, scores, splits.images(SPLIT), strict=True):
        features = aligner.encode(aligner.pixels([image.path]))
        expected = [float(aligner.similarity(features, aligner.embed([caption]))) for caption in own.captions]
        np.testing.assert_allclose(row, expected, atol=1e-5)
    lists = as_nbest(found, scores)
    assert lists.names == (*FEATURES[:4], "similarity")
    np.testing.assert_allclose(lists.values[:, -1], np.concatenate(scores), atol=1e-6)


def test_the_consensus_is_with_the_captions_of_the_nearest_training_images(
    captioner: Captioner, splits: Splits, found: list[nbest.Found]
) -> None:
    scores = consensus_scores(
        captioner, data_of(captioner, splits), found, similarity="cider", num_images=2, num_captions=3
    )
    training, images = splits.images("train"), splits.images(SPLIT)
    vectors = [captioner.encode(captioner.pixels([image.path])).pooled[0].double().numpy() for image in training]
    tokens = list(tokenize({image.image_id: image.captions for image in training}).values())
    frequencies = DocumentFrequencies.of(tokens)
    for own, row, image in zip(found, scores, images, strict=True):
        vector = captioner.encode(captioner.pixels([image.path])).pooled[0].double().numpy()
        cosines = [vector @ other / math.sqrt((vector @ vector) * (other @ other)) for other in vectors]
        nearest = sorted(range(len(training)), key=lambda i: -cosines[i])[:2]
        captions = [caption for i in nearest for caption in tokens[i]]
        for score, (hypothesis,) in zip(row, tokenize({c: [c] for c in own.captions}).values(), strict=True):
            each = [Cider([[c]], frequencies).statistics([hypothesis])[0, 0] for c in captions]
            assert score == pytest.approx(np.mean(sorted(each)[-3:]), abs=1e-6)
    lists = as_nbest(found, consensus=scores)
    assert lists.names == (*FEATURES[:4], "consensus")
    np.testing.assert_allclose(lists.values[:, -1], np.concatenate(scores), atol=1e-6)


def test_lists_hold_log_likelihood_length_and_rank_and_the_losses(found: list[nbest.Found]) -> None:
    lists = as_nbest(found)
    assert lists.captions == tuple(own.captions for own in found)
    rows = [(p, len(c.split())) for own in found for p, c in zip(own.log_likelihoods, own.captions, strict=True)]
    expected = [[p, length, p / max(length, 1)] for p, length in rows]
    np.testing.assert_allclose(lists.values[:, :3], expected, atol=1e-6)
    assert lists.losses is not None
    assert lists.losses.tolist() == [[own.loss, own.num_tokens] for own in found]


def test_an_infinite_loss_leaves_out_the_losses(found: list[nbest.Found]) -> None:
    assert as_nbest([replace(found[0], loss=math.inf), *found[1:]]).losses is None


def test_a_consensus_that_would_mean_nothing_is_refused(captioner: Captioner, splits: Splits) -> None:
    with pytest.raises(InputError, match="consensus=rouge: expected bleu or cider"):
        check_consensus(captioner, data_of(captioner, splits), "rouge")
    with pytest.raises(InputError, match="would be the image itself"):
        check_consensus(captioner, data_of(captioner, splits, "train"), "bleu")
    blind = Captioner(Blind(), captioner.decoder, captioner.tokenizer).eval()
    with pytest.raises(InputError, match="sees no image"):
        check_consensus(blind, data_of(blind, splits), "bleu")
