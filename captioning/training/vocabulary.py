"""Learn a run's vocabulary. A run that resumes keeps the rules of its checkpoint, perhaps of an earlier version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from captioning.text.tokenizer import Tokenizer


def learn_vocabulary(train: Callable[[Iterable[str]], Tokenizer], texts: Sequence[str], saved: str | None) -> Tokenizer:
    """Learn a vocabulary from texts.

    Args:
        train: learns a tokenizer, such as `text.words.train_words`.
        texts: the training split's captions or sentences.
        saved: the tokenizer of the checkpoint from which the run resumes, as JSON; None for a new run.

    Returns:
        The tokenizer. It is the saved one if both differ only in the rules that prepare a text for tokenization.
    """
    learned = train(texts)
    if saved is None:
        return learned
    earlier = Tokenizer.from_json(saved)
    rules = earlier.backend.normalizer
    if rules is None or _rules(earlier) == _rules(learned):
        return learned
    again = train(map(rules.normalize_str, texts))  # rules change nothing in a text that earlier rules have prepared
    return earlier if again.vocabulary == earlier.vocabulary else learned


def saved_tokenizer(saved: object, *keys: str) -> str | None:
    """Look up a tokenizer in a checkpoint, key by key; None if there is none."""
    for key in keys:
        saved = saved.get(key) if isinstance(saved, Mapping) else None
    return saved if isinstance(saved, str) else None


def _rules(tokenizer: Tokenizer) -> Any:
    return json.loads(tokenizer.to_json())["normalizer"]
