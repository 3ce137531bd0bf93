"""A processor against captions that end in the middle of a phrase: "a dog on a"."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.errors import InputError
from captioning.search.processors import Processor
from captioning.text.bpe import END_OF_WORD

SPACE = "Ġ"
"""How byte-level tokens write a space."""

BAD_ENDINGS = (
    # articles, determiners and possessives
    "a", "an", "the", "this", "that", "these", "those", "some", "his", "her", "its", "their", "my", "your", "our",
    # prepositions that need an object; words that are adverbs too, such as "down" and "by", are left out
    "of", "with", "at", "for", "from", "into", "onto", "to", "and", "or", "but", "while", "as", "like", "between",
    "among", "during", "against", "toward", "towards", "upon", "wearing",
    # verbs that need a complement
    "is", "are", "was", "were", "be",
)  # fmt: skip
"""English words that seldom end a caption."""


@dataclass(frozen=True)
class NoBadEndings(Processor):
    """Forbids `<eos>` after certain words.

    Training with REINFORCE on CIDEr, for example, gives captions that end with an article. A caption that is truncated
    at the search's `max_length` can still end with such a word.

    Args:
        ids: the ids of the words; `bad_endings` finds those of `BAD_ENDINGS`.
        eos: the id of `<eos>`.
    """

    ids: Sequence[int]
    eos: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))

    def __call__(self, step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        """Set the log-probability of `<eos>` to -inf in rows whose last token is one of the words."""
        if step == 0:
            return log_probs
        rows = torch.isin(tokens[:, -1], torch.tensor(self.ids, dtype=torch.int64, device=tokens.device)).nonzero()[
            :, 0
        ]
        if not len(rows):
            return log_probs
        return log_probs.index_put((rows, torch.full_like(rows, self.eos)), log_probs.new_tensor(-torch.inf))


def bad_endings(vocabulary: Sequence[str], words: Collection[str] = BAD_ENDINGS) -> tuple[int, ...]:
    """Find the ids of words that seldom end a caption; words that the vocabulary lacks are left out.

    Args:
        vocabulary: all tokens in the order of their ids, as `Tokenizer.vocabulary` has them. Of subwords, those are
            found that can be a whole word. With `text=bpe` such a token can also be the end of a longer word, which
            then cannot end a caption either.
        words: in lower case. Words in any case are found.

    Returns:
        The ids, ascending.

    Raises:
        InputError: the tokens are characters, which are no words.
    """
    if " " in vocabulary:
        raise InputError("the vocabulary consists of characters, expected words or parts of words; use no NoBadEndings")
    before, after = "", ""
    if any(token.endswith(END_OF_WORD) for token in vocabulary):
        after = END_OF_WORD
    elif any(token.startswith(SPACE) for token in vocabulary):
        before = SPACE
    wanted = {f"{before}{word}{after}" for word in words}
    return tuple(i for i, token in enumerate(vocabulary) if _lower(token, before) in wanted)


def _lower(token: str, before: str) -> str:
    return before + token.removeprefix(before).lower() if token.startswith(before) else ""
