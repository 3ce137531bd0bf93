"""A run learns its vocabulary; a resumed run keeps the rules of its checkpoint."""

from __future__ import annotations

import json
from functools import partial

from captioning.text import train_bpe, train_words
from captioning.text.tokenizer import Tokenizer
from captioning.training.vocabulary import learn_vocabulary, saved_tokenizer

CAPTIONS = ["salt &amp; pepper", "a dog's bowl of salt", "salt & pepper"]
words = partial(train_words, min_count=1)


def earlier_rules(tokenizer: Tokenizer) -> str:
    """The tokenizer without the rules that read entities, which were added later."""
    content = json.loads(tokenizer.to_json())
    rules = content["normalizer"]["normalizers"]
    content["normalizer"]["normalizers"] = [rule for rule in rules if "&" not in str(rule) or "$%" in str(rule)]
    return json.dumps(content)


def test_a_new_run_learns_its_vocabulary() -> None:
    assert learn_vocabulary(words, CAPTIONS, None).to_json() == words(CAPTIONS).to_json()


def test_a_resumed_run_keeps_the_rules_and_words_of_its_checkpoint() -> None:
    plain = ["a dog's bowl", "salt & pepper"]
    saved = earlier_rules(words(plain))
    found = learn_vocabulary(words, plain, saved)
    assert found.to_json() == Tokenizer.from_json(saved).to_json() != words(plain).to_json()

    rules = Tokenizer.from_json(saved).backend.normalizer
    with_entities = earlier_rules(words(map(rules.normalize_str, CAPTIONS)))
    found = learn_vocabulary(words, CAPTIONS, with_entities)
    assert "amp" in found.vocabulary
    assert found.to_json() == Tokenizer.from_json(with_entities).to_json()


def test_a_resumed_run_of_this_version_and_other_captions_keep_what_was_learned() -> None:
    assert learn_vocabulary(words, CAPTIONS, words(CAPTIONS).to_json()).to_json() == words(CAPTIONS).to_json()
    other = earlier_rules(words(["two cats"]))
    assert learn_vocabulary(words, CAPTIONS, other).to_json() == words(CAPTIONS).to_json()  # and is refused later
    subwords = partial(train_bpe, vocab_size=300)
    assert learn_vocabulary(subwords, CAPTIONS, subwords(CAPTIONS).to_json()).to_json() == subwords(CAPTIONS).to_json()


def test_a_checkpoint_without_tokenizer_has_none() -> None:
    assert saved_tokenizer({"transform": {"tokenizer": "{}"}}, "transform", "tokenizer") == "{}"
    for damaged in (None, {}, {"transform": [1]}, {"transform": {"tokenizer": 3}}):
        assert saved_tokenizer(damaged, "transform", "tokenizer") is None
