"""Explanations of captions, against teacher forcing, attention maps and single searches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.decoders import ShowAndTell, ShowAttendAndTell, Soft
from captioning.encoders import SmallCNN, TextEncoder, TextTransform
from captioning.errors import InputError
from captioning.model import explain as explaining
from captioning.model.attention_maps import alignments, attention_maps
from captioning.model.captioner import Captioner
from captioning.model.explain import explain
from captioning.model.explanation import Explanation
from captioning.recurrent import GRU, LSTM
from captioning.search import BeamSearch, Forbid, GreedySearch, Sampling, Search
from captioning.search.beam_record import Outcome
from captioning.search.processors import Processor
from captioning.text import train_words

SIZES = {"embedding_size": 17, "hidden_size": 19, "attention_size": 23}
SEARCH = BeamSearch(beam_size=4, max_length=7)


def loud(captioner: Captioner) -> Captioner:
    for weight in captioner.decoder.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    return captioner.eval()


@pytest.fixture
def captioner(tokenizer) -> Captioner:
    torch.manual_seed(0)
    encoder = SmallCNN((32, 48), channels=(8, 8, 16), grid=True)
    decoder = ShowAttendAndTell(feature_size=encoder.feature_size, vocab_size=len(tokenizer), phi=Soft(), **SIZES)
    return loud(Captioner(encoder, decoder, tokenizer, search=SEARCH))


@pytest.fixture
def blunt(tokenizer) -> Captioner:
    """A captioner without attention."""
    torch.manual_seed(0)
    encoder = SmallCNN((32, 48), channels=(8, 8, 16))
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    return loud(Captioner(encoder, ShowAndTell(**sizes, recurrent=GRU), tokenizer, search=SEARCH))


@pytest.fixture
def pixels(captioner: Captioner) -> Tensor:
    return captioner.pixels([Image.new("RGB", (90, 60), "red")])


def ids(captioner: Captioner, words: list[str]) -> list[int]:
    return [captioner.tokenizer.backend.token_to_id(word) for word in words]


def teacher_forced(captioner: Captioner, inputs: Tensor, tokens: list[int]) -> Tensor:
    """The log-probabilities of each next token, (T, V)."""
    batch = collate([0], [[[captioner.tokenizer.special.bos, *tokens]]], pad=captioner.tokenizer.special.pad)
    with torch.inference_mode():
        logits = captioner.decoder(captioner.encode(inputs), batch.inputs(), batch.image_index)
    return logits.log_softmax(1)


@pytest.mark.parametrize("model", ["captioner", "blunt"])
def test_captions_are_those_of_the_search_and_words_have_the_probabilities_of_teacher_forcing(model, pixels, request):
    captioner: Captioner = request.getfixturevalue(
        model
    ).double()  # steps and teacher forcing round float32 differently
    found = explain(captioner, pixels, num_best=3)
    (best,) = captioner.decode(pixels)
    assert (found.captions[0].text, found.captions[0].finished) == (best.text, best.finished)
    assert found.captions[0].log_prob == pytest.approx(best.score)
    assert len(found.captions) == 3
    for caption in found.captions:
        tokens = ids(captioner, [word.text for word in caption.words])
        log_probs = teacher_forced(captioner, pixels, tokens)
        assert caption.log_prob == pytest.approx(sum(math.log(word.probability) for word in caption.words), abs=1e-4)
        assert caption.mean == pytest.approx(caption.log_prob / len(tokens))
        for step, own, word in zip(log_probs, tokens, caption.words, strict=True):
            assert word.probability == pytest.approx(step[own].exp().item(), rel=1e-4)
            order = step.argsort(descending=True).tolist()
            listed = order[:8] + ([] if own in order[:8] else [own])
            assert ids(captioner, [choice.text for choice in word.alternatives]) == listed
            assert [choice.chosen for choice in word.alternatives] == [i == own for i in listed]
            assert [choice.rank for choice in word.alternatives] == [order.index(i) + 1 for i in listed]
            for i, choice in zip(listed, word.alternatives, strict=True):
                assert choice.probability == pytest.approx(step[i].exp().item(), rel=1e-4)


@dataclass(frozen=True)
class StartsWith(Processor):
    """Forces the first tokens of the only image, one by one."""

    prefix: tuple[int, ...]

    def __call__(self, step, tokens, log_probs, /):
        if step >= len(self.prefix):
            return log_probs
        others = [i for i in range(log_probs.shape[1]) if i != self.prefix[step]]
        return Forbid(others)(step, tokens, log_probs)


@pytest.mark.parametrize("model", ["captioner", "blunt"])
def test_an_edit_is_what_a_search_with_the_forced_prefix_finds(model, pixels, request):
    captioner: Captioner = request.getfixturevalue(model)
    found = explain(captioner, pixels, num_best=2)
    num_edits = 0
    for caption in found.captions:
        tokens = tuple(ids(captioner, [word.text for word in caption.words]))
        for t, word in enumerate(caption.words):
            others = [choice for choice in word.alternatives if not (choice.chosen or choice.forbidden)]
            assert [choice.edit is not None for choice in others] == [i < 4 for i in range(len(others))]
            for choice in others[:4]:
                prefix = (*tokens[:t], *ids(captioner, [choice.text]))
                search = BeamSearch(beam_size=4, max_length=7, processors=[StartsWith(prefix)])
                (alone,) = captioner.decode(pixels, search=search)
                assert (choice.edit.text, choice.edit.finished) == (alone.text, alone.finished)
                assert choice.edit.log_prob == pytest.approx(alone.score, abs=1e-3)  # a batch is rounded differently
                num_edits += 1
    assert num_edits >= 20


def test_no_more_edits_are_made_than_stated_and_the_best_caption_s_come_first(captioner, pixels, monkeypatch):
    monkeypatch.setattr(explaining, "MOST_EDITS", 6)
    found = explain(captioner, pixels)
    edits = [
        (c, t, tuple(word.text for word in caption.words[:t]), choice.text)
        for c, caption in enumerate(found.captions)
        for t, word in enumerate(caption.words)
        for choice in word.alternatives
        if choice.edit is not None
    ]
    assert len({(before, text) for _, _, before, text in edits}) == 6
    assert [(c, t) for c, t, _, _ in edits][:4] == [(0, 0)] * 4


def test_forbidden_words_are_marked_and_not_forced(captioner, pixels):
    special = captioner.tokenizer.special
    (dog,) = ids(captioner, ["dog"])
    search = BeamSearch(beam_size=3, max_length=5, processors=[Forbid([dog])])
    found = explain(captioner, pixels, search=search)
    choices = [choice for caption in found.captions for word in caption.words for choice in word.alternatives]
    never = {"dog", "<pad>", "<bos>", "<unk>"}
    assert {choice.text for choice in choices if choice.forbidden} <= never
    assert all(choice.forbidden and choice.edit is None for choice in choices if choice.text in never)
    assert {branch.forbidden_by for branch in found.tree} <= {None, "Forbid", "allow_unknown=False"}
    assert special.unk not in ids(captioner, [word.text for caption in found.captions for word in caption.words])


def test_attention_is_that_of_attention_maps(captioner, pixels):
    found = explain(captioner, pixels)
    for caption in found.captions:
        (expected,) = attention_maps(captioner, pixels, [caption.text])
        maps = torch.stack([word.attention for word in caption.words])
        assert maps.shape[1:] == (8, 12)  # a quarter of 32 x 48
        assert_close(maps[: len(expected.words)], expected.weights, rtol=0, atol=1e-5)


def test_a_model_without_attention_has_no_maps(blunt, pixels):
    found = explain(blunt, pixels)
    assert all(word.attention is None for caption in found.captions for word in caption.words)


def check_tree(found: Explanation) -> None:
    assert found.tree is not None
    for index, branch in enumerate(found.tree):
        if branch.step > 1:
            parent = found.tree[branch.parent]
            assert branch.parent < index
            assert parent.step == branch.step - 1
            assert parent.outcome is Outcome.CONTINUED
            assert parent.log_prob >= branch.log_prob
            assert parent.best or not branch.best
        else:
            assert branch.parent is None
    order = [(branch.step, branch.parent if branch.step > 1 else 0, -branch.log_prob) for branch in found.tree]
    assert order == sorted(order)
    assert [branch.text for branch in found.tree if branch.best] == [word.text for word in found.captions[0].words]


def test_a_tree_leads_to_the_captions(captioner, pixels):
    found = explain(captioner, pixels)
    check_tree(found)
    assert found.num_left_out == 0
    leaves = [branch for branch in found.tree if branch.outcome is Outcome.HYPOTHESIS]
    assert sorted(branch.log_prob for branch in leaves) == pytest.approx(
        sorted(caption.log_prob for caption in found.captions)
    )


def test_a_large_tree_keeps_all_that_leads_to_a_caption_and_counts_the_rest(captioner, pixels, monkeypatch):
    whole = explain(captioner, pixels)
    monkeypatch.setattr(explaining, "MOST_BRANCHES", 8)
    found = explain(captioner, pixels)
    check_tree(found)
    assert len(found.tree) + found.num_left_out == len(whole.tree)
    assert found.num_left_out > 0
    assert sum(branch.outcome is Outcome.HYPOTHESIS for branch in found.tree) == len(found.captions)


def test_long_captions_are_explained_up_to_a_number_of_tokens(captioner, pixels, monkeypatch):
    monkeypatch.setattr(explaining, "MOST_STEPS", 2)
    whole = captioner.decode(pixels)[0]
    found = explain(captioner, pixels)
    assert found.captions[0].text == whole.text
    assert {len(caption.words) for caption in found.captions} <= {1, 2}
    assert max(branch.step for branch in found.tree) == 2


def test_greedy_search_is_explained_as_one_beam(captioner, pixels):
    (expected,) = captioner.decode(pixels, search=GreedySearch(max_length=7))
    found = explain(captioner, pixels, search=GreedySearch(max_length=7))
    assert [caption.text for caption in found.captions] == [expected.text]
    assert (found.search, found.settings["beam_size"], found.settings["max_length"]) == ("BeamSearch", 1, 7)
    check_tree(found)


def test_samples_have_no_tree(captioner, pixels):
    sampling = Sampling(max_length=7, seed=3)
    found = explain(captioner, pixels, search=sampling, num_best=4)
    assert (found.tree, found.search, len(found.captions)) == (None, "Sampling", 4)
    expected = Sampling(max_length=7, seed=3, num_samples=4)(
        captioner.decoder, captioner.encode(pixels), captioner.tokenizer.special
    )
    assert [caption.log_prob for caption in found.captions] == pytest.approx(expected.scores[0].tolist())


@dataclass(frozen=True, kw_only=True)
class Backwards(Search):
    """Another search: a beam search whose worst hypothesis comes first."""

    max_length: int = 7
    allow_unknown: bool = False
    processors: tuple[Processor, ...] = ()

    def __call__(self, decoder, features, special):
        found = BeamSearch(beam_size=3, num_best=3, max_length=7, processors=self.processors)(
            decoder, features, special
        )
        return type(found)(**{name: value.flip(1) for name, value in vars(found).items()})


def test_other_searches_have_captions_and_edits_and_no_tree(captioner, pixels):
    found = explain(captioner, pixels, search=Backwards(), num_best=2)
    assert (found.tree, found.search, len(found.captions)) == (None, "Backwards", 2)
    assert found.captions[0].log_prob < found.captions[1].log_prob
    assert any(choice.edit for choice in found.captions[0].words[0].alternatives)


def test_a_translation_attends_to_its_source(tokenizer):
    torch.manual_seed(0)
    german = ["ein hund rennt", "hund"]
    source = train_words(german, min_count=1)
    encoder = TextEncoder(vocab_size=len(source), recurrent=LSTM, embedding_size=3, hidden_size=5)
    decoder = ShowAttendAndTell(feature_size=5, vocab_size=len(tokenizer), phi=Soft(), **SIZES)
    model = loud(Captioner(encoder, decoder, tokenizer, transform=TextTransform(source), search=SEARCH))
    found = explain(model, model.transform(german[:1]))
    assert found.source == ("ein", "hund", "rennt", "<eos>")
    (expected,) = alignments(model, german[:1], [found.captions[0].text])
    weights = torch.stack([word.attention for word in found.captions[0].words])
    assert_close(weights, expected.weights[: len(weights)], rtol=0, atol=1e-5)


def test_training_mode_changes_nothing_and_stays(captioner, pixels):
    expected = explain(captioner, pixels)
    captioner.decoder.dropout.p = 0.9
    found = explain(captioner.train(), pixels)
    assert captioner.training
    assert [caption.log_prob for caption in found.captions] == [caption.log_prob for caption in expected.captions]


def test_what_is_out_of_range_is_refused(captioner, pixels):
    for number in (0, 11):
        with pytest.raises(InputError, match=rf"num_best={number} must be in 1\.\.10"):
            explain(captioner, pixels, num_best=number)
    with pytest.raises(InputError, match="one image or sentence is explained at a time; found 2"):
        explain(captioner, pixels.repeat(2, 1, 1, 1))
