"""Captions with the log-probabilities of their words, their runners-up and their alternatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from captioning import Captioner
from captioning.decoders import MRNN
from captioning.encoders import SmallCNN
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.caption import Caption
from captioning.model.found import captions_of
from captioning.search import BeamSearch, Forbid, GreedySearch, Sampling, Search
from captioning.text import Tokenizer, train_bpe, train_byte_bpe, train_characters, train_words

TEXTS = ["a red dog runs", "two cats, on a sofa", "où est le chat ?"]
TOKENIZERS = {
    "words": train_words(TEXTS, min_count=1),
    "bpe": train_bpe(TEXTS, vocab_size=60, min_count=1),
    "bytes": train_byte_bpe(TEXTS, vocab_size=270, min_count=1),
    "characters": train_characters(TEXTS, min_count=1),
}
SEARCHES: dict[str, Search] = {
    "beam": BeamSearch(beam_size=5, num_best=5, max_length=6),
    "normalised": BeamSearch(beam_size=5, num_best=3, max_length=6, length_normalization=1.0),
    "sampling": Sampling(num_samples=7, top_p=0.9, max_length=6),
    "greedy": GreedySearch(max_length=6),
    "allowing": GreedySearch(max_length=6, allow_unknown=True),
}
each_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


def captioner_of(tokenizer: Tokenizer) -> Captioner:
    torch.manual_seed(5)
    encoder = SmallCNN((16, 16), channels=(8, 16))
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    decoder = MRNN(embedding_size=7, hidden_size=11, multimodal_size=13, **sizes)
    for weight in decoder.parameters():
        torch.nn.init.uniform_(weight, -1, 1)
    return Captioner(encoder, decoder, tokenizer).eval()


@pytest.fixture(params=TOKENIZERS)
def captioner(request: pytest.FixtureRequest) -> Captioner:
    """A captioner with random weights, of words, subwords, bytes and characters."""
    return captioner_of(TOKENIZERS[request.param])


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def every(captions: list[Caption]) -> list[Caption]:
    return [own for caption in captions for own in (caption, *caption.alternatives)]


@each_search
def test_log_probabilities_of_words_sum_to_the_score(
    captioner: Captioner, images: torch.Tensor, search: Search
) -> None:
    found = every(captioner.decode(images, search=search))
    assert len(found) >= 3
    for caption in found:
        assert math.fsum(word.log_prob for word in caption.words) == pytest.approx(caption.score, abs=1e-5)
        assert (caption.words[-1].text == "<eos>") == caption.finished
        assert not any(word.runners_up for word in caption.words)


@each_search
def test_the_caption_is_the_search_s_best_and_the_others_follow(
    captioner: Captioner, images: torch.Tensor, search: Search
) -> None:
    found = search(captioner.decoder, captioner.encode(images), captioner.tokenizer.special)
    for i, caption in enumerate(captioner.decode(images, search=search)):
        rows = [row for row, length in enumerate(found.lengths[i].tolist()) if length]
        texts = dict.fromkeys(captioner.tokenizer.decode(found.tokens[i, row].tolist()) for row in rows)
        assert [own.text for own in every([caption])] == list(texts)
        assert caption.score == found.scores[i, 0].item()
        assert caption.finished == found.finished[i, 0].item()


@each_search
def test_runners_up_are_the_most_probable_other_tokens_of_single_steps(
    captioner: Captioner, images: torch.Tensor, search: Search
) -> None:
    tokenizer, decoder = captioner.tokenizer, captioner.decoder
    left_out = {tokenizer.special.pad, tokenizer.special.bos}
    left_out |= set() if search.allow_unknown else {tokenizer.special.unk}
    features = captioner.encode(images)
    hypotheses = search(decoder, features, tokenizer.special)
    found = captioner.decode(images, search=search, runners_up=3)
    for i, caption in enumerate(found):
        state, last = decoder.start(features.rows(torch.tensor([i]))), torch.tensor([tokenizer.special.bos])
        tokens = hypotheses.tokens[i, 0, : hypotheses.lengths[i, 0]].tolist()
        for token, word in zip(tokens, caption.words, strict=True):
            logits, state = decoder.step(last, state)
            log_probs = logits.log_softmax(1)[0].tolist()
            others = sorted((-p, t) for t, p in enumerate(log_probs) if t != token and t not in left_out)[:3]
            assert [own.log_prob for own in word.runners_up] == pytest.approx([-p for p, _ in others], abs=1e-5)
            assert word.log_prob == pytest.approx(log_probs[token], abs=1e-5)
            last = torch.tensor([token])


def test_asking_for_runners_up_changes_nothing_else(captioner: Captioner, images: torch.Tensor) -> None:
    search = SEARCHES["beam"]
    plain, more = (every(captioner.decode(images, search=search, runners_up=n)) for n in (0, 2))
    assert [(c.text, c.score, [w.log_prob for w in c.words]) for c in plain] == [
        (c.text, c.score, [w.log_prob for w in c.words]) for c in more
    ]
    assert all(len(word.runners_up) == 2 for caption in more for word in caption.words)


def test_runners_up_hold_for_every_decoder(one_decoder: Any, features: ImageFeatures) -> None:
    """By teacher forcing; the searches take single steps."""
    tokenizer = train_words(["a dog runs on the field", "cat"], min_count=1)
    assert len(tokenizer) == one_decoder.vocab_size
    with torch.no_grad():
        hypotheses = BeamSearch(beam_size=3, num_best=2, max_length=5)(one_decoder, features, tokenizer.special)
        found = captions_of(hypotheses, one_decoder, features, tokenizer, runners_up=99, allow_unknown=True)
    for caption in every(found):
        for word in caption.words:
            others = [own.log_prob for own in word.runners_up]
            assert others == sorted(others, reverse=True)
            # All words together with those that are never said, <pad> and <bos>, have probability 1.
            assert len(others) == one_decoder.vocab_size - 3
            assert math.exp(word.log_prob) + math.fsum(map(math.exp, others)) <= 1 + 1e-5
            assert word.text not in {own.text for own in word.runners_up}


def test_captions_of_one_text_are_one_alternative(images: torch.Tensor) -> None:
    captioner = captioner_of(TOKENIZERS["words"])
    drawn = captioner.decode(images, search=Sampling(num_samples=50, temperature=0.01, max_length=4))
    assert all(len({own.text for own in every([caption])}) == 1 + len(caption.alternatives) for caption in drawn)
    assert min(len(caption.alternatives) for caption in drawn) < 10


def test_an_image_without_a_caption_has_an_empty_one(images: torch.Tensor) -> None:
    captioner = captioner_of(TOKENIZERS["words"])
    nothing = GreedySearch(processors=[Forbid(range(len(captioner.tokenizer)))])
    expected = [Caption("", -math.inf, finished=False)] * 3
    assert captioner.decode(images, search=nothing, runners_up=2) == expected


def test_options_and_search_reach_caption(images: torch.Tensor) -> None:
    captioner = captioner_of(TOKENIZERS["words"])
    arrays = [(255 * image).byte() for image in images]
    found = captioner.caption(arrays, num_best=3, max_length=5)
    assert found == captioner.caption(arrays, search=BeamSearch(beam_size=5, num_best=3, max_length=5))
    assert [len(caption.alternatives) for caption in found] == [2, 2, 2]
    assert captioner.caption(arrays[0], num_best=3, max_length=5).text == found[0].text
    with pytest.raises(InputError, match="num_beams is called beam_size here"):
        captioner.caption(arrays, num_beams=3)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="runners_up=-1 must be at least 0"):
        captioner.caption(arrays, runners_up=-1)
