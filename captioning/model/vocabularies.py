"""Check that models which predict words together have one vocabulary."""

from __future__ import annotations

from itertools import zip_longest

from captioning.errors import InputError, shown
from captioning.text.tokenizer import Tokenizer


def check_same(first: Tokenizer, other: Tokenizer, of: str) -> None:
    """Check that two tokenizers are equal.

    Args:
        first: one of them.
        other: the other one.
        of: what they tokenize, and whose they are, for the message.

    Raises:
        InputError: they differ; the message says in what.
    """
    if other.to_json() == first.to_json():
        return
    pairs = enumerate(zip_longest(first.vocabulary, other.vocabulary))
    id_, words = next(((i, pair) for i, pair in pairs if pair[0] != pair[1]), (None, ("", "")))
    found = (
        "the same tokens, but other rules by which text is tokenized"
        if id_ is None
        else f"{len(first)} and {len(other)} tokens, of which {id_} is {shown(words[0])!r} and {shown(words[1])!r}"
    )
    raise InputError(
        f"the vocabularies of {of} differ ({found}); train the models with the same text settings on the same captions"
    )
