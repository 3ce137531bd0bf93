"""The n-grams that a corpus contains, as features of a log-linear language model: found by code, without hashing.

An n-gram κ w of token ids has the code

    code(κ w) = code(κ) V + w        code(w_1 .. w_m) = Σ_j (w_j + 1) (V + 1)^(m - j)

where V is the size of the vocabulary. A context that begins before the caption has 0 in the place of each missing
token. Codes are whole numbers, different for different n-grams. In ascending order, the n-grams of one context are next
to each other, so a binary search finds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from captioning.errors import InputError

NONE = -1
"""The token in a context before the caption begins."""
_CHUNK = 10_000


def context_code(context: Tensor, vocab_size: int) -> Tensor:
    """Compute code(κ) of contexts of m tokens, the earliest first: (.., m) int64 to (..) int64."""
    code = torch.zeros(context.shape[:-1], dtype=torch.int64, device=context.device)
    for token in context.unbind(-1):
        code = code * (vocab_size + 1) + token + 1
    return code


def check_order(order: int, vocab_size: int) -> None:
    """Check that the codes of n-grams of up to `order` tokens fit into 63 bits.

    Raises:
        InputError: they do not, or `order` is not a positive number.
    """
    if order < 1 or (vocab_size + 1) ** order >= 2**63:
        raise InputError(
            f"order={order} must be at least 1, and {vocab_size + 1}^order less than 2^63; lower decoder.order, or "
            "raise text.min_count"
        )


def observed_ngrams(captions: Iterable[Sequence[int]], *, vocab_size: int, order: int) -> list[Tensor]:
    """Collect the n-grams of 2 to `order` tokens that captions contain.

    Args:
        captions: token ids, `<bos>` first, as the decoder reads them. `<bos>` is in contexts alone.
        vocab_size: V.
        order: the largest n.

    Returns:
        For each n from 2, the codes of the different n-grams in ascending order, int64.

    Raises:
        InputError: `order` is out of range.
    """
    check_order(order, vocab_size)
    rows = [torch.tensor(ids, dtype=torch.int64) for ids in captions if len(ids) > 1]
    found: list[list[Tensor]] = [[] for _ in range(order - 1)]
    for start in range(0, len(rows), _CHUNK):
        tokens = pad_sequence(rows[start : start + _CHUNK], batch_first=True, padding_value=NONE)
        before = nn.functional.pad(tokens, (order - 1, 0), value=NONE)
        targets = tokens[:, 1:]
        for n, own in enumerate(found, 2):
            first = order - n + 1  # where the context of the second token begins
            contexts = before[:, first:-1].unfold(1, n - 1, 1)
            codes = context_code(contexts, vocab_size) * vocab_size + targets
            own.append(torch.unique(codes[targets != NONE]))
    none = torch.zeros(0, dtype=torch.int64)
    return [torch.unique(torch.cat([none, *own])) for own in found]


class Ngrams(nn.Module):
    """The weights of the n-grams of one length that training captions contain. Other n-grams have no weight.

    Args:
        count: how many different n-grams there are, at least 1.
        vocab_size: V.

    Attributes:
        codes: the n-grams' codes, ascending, (count) int64. Until `observe` sets them, no n-gram is found.
        plus: λ+, the weights of n-grams whose last word is detected and not yet mentioned, (count).
        minus: λ-, the weights of n-grams whose last word is not, (count).
    """

    codes: Tensor

    def __init__(self, count: int, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.register_buffer("codes", torch.arange(-count, 0))
        self.plus, self.minus = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(count))
        self.register_load_state_dict_post_hook(_check_loaded)  # type: ignore[no-untyped-call]

    def observe(self, codes: Tensor) -> None:
        """Set the n-grams by their codes, ascending.

        Raises:
            InputError: their number is not `count`, or they are not in ascending order.
        """
        if codes.shape != self.codes.shape:
            raise InputError(f"the decoder was built for {len(self.codes)} n-grams of a length, found {len(codes)}")
        self.codes.copy_(codes)
        _check_loaded(self)

    def after(self, contexts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find all n-grams after each context.

        Args:
            contexts: the codes of B contexts, (B) int64.

        Returns:
            Of each n-gram found, (n) int64: the row of its context, its last word, and its place among the weights.
        """
        first = torch.searchsorted(self.codes, contexts * self.vocab_size)
        counts = torch.searchsorted(self.codes, (contexts + 1) * self.vocab_size) - first
        rows = torch.arange(len(contexts), device=contexts.device).repeat_interleave(counts)
        skipped = (first - counts.cumsum(0) + counts)[rows]
        places = torch.arange(len(rows), device=contexts.device) + skipped
        return rows, self.codes[places] % self.vocab_size, places

    def difference(self, contexts: Tensor, words: Tensor) -> Tensor:
        """Compute λ+ - λ- of the n-grams that end with given words; 0 for those that were not observed.

        Args:
            contexts: the codes of B contexts, (B) int64.
            words: (B, D) int64.
        """
        codes = contexts[:, None] * self.vocab_size + words
        places = torch.searchsorted(self.codes, codes).clamp(max=len(self.codes) - 1)
        found = self.codes[places] == codes
        return (self.plus[places] - self.minus[places]) * found


def _check_loaded(ngrams: Ngrams, *_: Any) -> None:
    if (ngrams.codes.diff() <= 0).any():
        raise InputError("the codes of n-grams are not in ascending order; the file is damaged: copy it again")
