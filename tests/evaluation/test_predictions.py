"""From predictions to figures."""

from __future__ import annotations

import math

import pytest
import torch

from captioning.data.batch import collate
from captioning.decoders import MRNN
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation, Prediction, evaluate, gather, predict, texts_of
from captioning.metrics import CocoScorer, Scores
from captioning.objectives import token_losses
from captioning.search import GreedySearch
from captioning.search.hypotheses import Hypotheses
from captioning.text import train_bpe, train_words

REFERENCES = {1: ("a red ball", "the red ball"), 2: ("a blue box", "the box is blue"), 3: ("a tree", "one tree")}


def prediction(image_id: int, caption: str, loss: float = 2.0, num_tokens: int = 4) -> Prediction:
    return Prediction(image_id, caption, -1.0, True, loss, num_tokens, num_unknown=1)


@pytest.fixture(scope="module")
def scorer() -> CocoScorer:
    return CocoScorer(REFERENCES, metrics=("BLEU", "CIDEr"))


def test_each_image_counts_once_and_in_the_split_s_order(scorer: CocoScorer) -> None:
    predictions = [prediction(3, "a tree"), prediction(1, "a red ball"), prediction(2, "a box")]
    repeated = [*predictions, prediction(1, "something else"), prediction(3, "another", loss=99)]
    once, twice = (evaluate(p, REFERENCES, scorer) for p in (predictions, repeated))
    assert [p.image_id for p in once.predictions] == [1, 2, 3]
    assert once == twice


def test_loss_is_a_mean_over_tokens_and_perplexity_its_exponential(scorer: CocoScorer) -> None:
    result = evaluate(
        [prediction(1, "a", 1.0, 2), prediction(2, "b", 5.0, 6), prediction(3, "c", 2.0, 8)], REFERENCES, scorer
    )
    assert result.loss == pytest.approx(8 / 16)
    assert result.perplexity == pytest.approx(math.exp(0.5))
    assert result.unknown_share == pytest.approx(3 / 16)


def test_the_length_of_a_caption_is_a_mean_over_references(scorer: CocoScorer) -> None:
    predictions = [
        prediction(image_id, "a", num_tokens=num_tokens) for image_id, num_tokens in ((1, 2), (2, 6), (3, 8))
    ]
    assert evaluate(predictions, REFERENCES, scorer).tokens_per_caption == pytest.approx(16 / 6)


def test_bits_per_character_are_those_of_the_references_as_published(scorer: CocoScorer) -> None:
    # REFERENCES have 10 + 12, 10 + 15 and 6 + 8 characters and six ends.
    predictions = [prediction(1, "a", 1.0), prediction(2, "b", 5.0), prediction(3, "c", 2.0)]
    assert evaluate(predictions, REFERENCES, scorer).bits_per_character == pytest.approx(8 / math.log(2) / (61 + 6))


def test_a_vocabulary_that_cuts_otherwise_has_the_same_bits_per_character(scorer: CocoScorer) -> None:
    # Words and letters that give every reference one probability differ in loss and perplexity alone.
    words, letters = (
        evaluate([prediction(n, "a", 7.0, num_tokens) for n in REFERENCES], REFERENCES, scorer)
        for num_tokens in (8, 36)
    )
    assert words.bits_per_character == letters.bits_per_character
    assert words.perplexity > letters.perplexity


def test_captions_of_no_references_have_no_loss() -> None:
    scorer = CocoScorer({1: ("a",)}, metrics=("BLEU",))
    scorer.score = lambda captions: Scores({}, {})  # type: ignore[method-assign]
    result = evaluate([], {}, scorer)
    assert math.isnan(result.loss)
    assert math.isnan(result.bits_per_character)
    assert math.isnan(result.tokens_per_caption)


@pytest.mark.parametrize(("loss", "perplexity"), [(800.0, math.inf), (math.inf, math.inf), (math.nan, math.nan)])
def test_perplexity_is_reported_for_any_loss(loss: float, perplexity: float) -> None:
    assert Evaluation((), Scores({}, {}), loss, 1.5, 4.0, {}).perplexity == pytest.approx(perplexity, nan_ok=True)


def test_a_missing_or_unknown_image_is_an_error_that_lists_it(scorer: CocoScorer) -> None:
    with pytest.raises(InputError, match=r"1 images of the split have no caption and 1 captions belong.*'3', '7'"):
        evaluate([prediction(1, "a"), prediction(2, "b"), prediction(7, "c")], REFERENCES, scorer)


def test_gather_without_processes_changes_nothing() -> None:
    predictions = [prediction(1, "a"), prediction(2, "b")]
    assert gather(predictions) == predictions


def test_predict_gives_each_image_its_own_loss_tokens_and_unknown_words() -> None:
    torch.manual_seed(0)
    captions = [("a red ball on a box", "a ball"), (), ("the tree",)]
    tokenizer = train_words(["a red ball on a box", "a ball", "the"], min_count=1)
    decoder = MRNN(feature_size=3, vocab_size=len(tokenizer)).eval()
    features = ImageFeatures(torch.randn(3, 3))
    batch = collate([7, 8, 9], [tokenizer.encode(c) for c in captions], pad=tokenizer.special.pad)
    with torch.inference_mode():
        found = predict(decoder, GreedySearch(max_length=5), tokenizer, features, batch)
    assert [p.image_id for p in found] == [7, 8, 9]
    assert [p.num_tokens for p in found] == [7 + 3, 0, 3]
    assert [p.num_unknown for p in found] == [0, 0, 1]  # tree
    for row, (p, own) in enumerate(zip(found, captions, strict=True)):
        alone = sum(
            token_losses(decoder, features.rows(torch.tensor([row])), collate([0], [[ids]], pad=0)).sum().item()
            for ids in tokenizer.encode(own)
        )
        assert p.loss == pytest.approx(alone, abs=1e-4)


def test_all_captions_of_an_image_are_kept_and_the_best_one_is_scored() -> None:
    tokenizer = train_words(["a red ball", "a tree"], min_count=1)
    texts = [["a red ball", "a tree"], ["a tree"], []]
    ids = torch.full((3, 2, 5), tokenizer.special.pad)
    lengths = torch.zeros(3, 2, dtype=torch.int64)
    for image, own in enumerate(texts):
        for row, tokens in enumerate(tokenizer.encode(own)):
            ids[image, row, : len(tokens) - 1] = torch.tensor(tokens[1:])
            lengths[image, row] = len(tokens) - 1

    def search(*_: object) -> Hypotheses:
        return Hypotheses(ids, lengths, lengths.float().neg(), torch.zeros(3, 2, 5), lengths > 0)

    decoder = MRNN(feature_size=3, vocab_size=len(tokenizer)).eval()
    batch = collate([7, 8, 9], [[], [], []], pad=tokenizer.special.pad)
    found = predict(decoder, search, tokenizer, ImageFeatures(torch.randn(3, 3)), batch)
    assert [p.captions for p in found] == [tuple(own) for own in texts]
    assert [p.caption for p in found] == ["a red ball", "a tree", ""]
    references = {7: ["a ball"], 8: ["the tree"], 9: ["a box"]}
    result = evaluate(found, references, CocoScorer(references, metrics=("BLEU",)))
    assert result.alternatives["per_image"] == 1
    assert result.seconds >= 0


def test_of_very_many_captions_the_first_twenty_are_kept() -> None:
    tokenizer = train_words(["a red ball"], min_count=1)
    (ids,) = tokenizer.encode(["a red ball"])
    tokens = torch.tensor(ids[1:]).expand(1, 500, -1)
    scores = torch.zeros(1, 500)
    found = Hypotheses(tokens, torch.full((1, 500), 4), scores, torch.zeros(1, 500, 4), scores == 0)
    assert texts_of(found, tokenizer) == [("a red ball",) * 20]


def test_predicted_captions_are_whole_texts_whatever_their_tokens_are() -> None:
    text = "A man's dog runs, doesn't it?"
    tokenizer = train_bpe([text], vocab_size=60)
    ids = torch.tensor(tokenizer.encode([text]))[:, None, 1:]
    assert ids.shape[2] > len(text.split()) + 1

    def search(*_: object) -> Hypotheses:
        one = torch.ones(1, 1)
        return Hypotheses(ids, one.long() * ids.shape[2], -one, -one[..., None].expand(ids.shape), one.bool())

    decoder = MRNN(feature_size=3, vocab_size=len(tokenizer)).eval()
    batch = collate([7], [[]], pad=tokenizer.special.pad)
    (found,) = predict(decoder, search, tokenizer, ImageFeatures(torch.randn(1, 3)), batch)
    assert found.caption == text


def test_a_missing_image_alone_and_an_unknown_one_alone_are_errors(scorer: CocoScorer) -> None:
    with pytest.raises(InputError, match=r"1 images of the split have no caption and 0 captions"):
        evaluate([prediction(1, "a"), prediction(2, "b")], REFERENCES, scorer)
    with pytest.raises(InputError, match=r"0 images of the split have no caption and 1 captions"):
        evaluate([prediction(n, "a") for n in (1, 2, 3, 7)], REFERENCES, scorer)
