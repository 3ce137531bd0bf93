"""The finite-state machine that follows which required words a caption has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from captioning.errors import InputError

Phrase = tuple[int, ...]
Required = tuple[tuple[Phrase, ...], ...]
"""For each required word its alternatives, each as the ids of its tokens."""

MOST_REQUIRED, MOST_TOKENS, MOST_STATES = 8, 256, 512
"""The largest numbers of required words, of the tokens of all their alternatives, and of states."""


@dataclass(frozen=True)
class Machine:
    """A deterministic machine over tokens.

    A state is the set of required words that a prefix has, together with the last tokens of the prefix as far as they
    begin a phrase that is still required.

    Attributes:
        tokens: the m tokens of the phrases. All others are read alike.
        following: for each of the S states, the next state after any other token, then after each of `tokens`;
            S rows of 1 + m. State 0 is the start.
        accepting: the state in which a prefix has all required words.
        shortest: the least number of tokens that lead there.
    """

    tokens: tuple[int, ...]
    following: tuple[tuple[int, ...], ...]
    accepting: int
    shortest: int

    def to(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return `tokens`, (m), and `following`, (S, 1 + m), as int64 tensors."""
        return (
            torch.tensor(self.tokens, dtype=torch.int64, device=device),
            torch.tensor(self.following, dtype=torch.int64, device=device),
        )


@lru_cache(maxsize=16)
def machine_of(required: Required) -> Machine:
    """Build the machine of required words.

    It has 2^n states for n required words of one token each, and more for phrases.

    Raises:
        InputError: there are too many words, tokens or states.
    """
    if len(required) > MOST_REQUIRED:
        raise InputError(
            f"{len(required)} words are required, expected at most {MOST_REQUIRED}: the search has a beam for each of "
            f"their 2^{len(required)} subsets; require fewer words, or use alternatives"
        )
    tokens = tuple(sorted({token for alternatives in required for phrase in alternatives for token in phrase}))
    if (count := sum(len(phrase) for alternatives in required for phrase in alternatives)) > MOST_TOKENS:
        raise InputError(f"the required words have {count:,} tokens, expected at most {MOST_TOKENS}; require fewer")
    states: list[tuple[int, Phrase]] = [(0, ())]
    numbers = {states[0]: 0}
    lengths, following = [0], list[tuple[int, ...]]()
    for satisfied, tail in states:  # grows; in the order of the number of tokens that lead to a state
        targets = [(satisfied, Phrase()), *(_advance(required, satisfied, (*tail, token)) for token in tokens)]
        for target in targets:
            if target not in numbers:
                numbers[target] = len(states)
                states.append(target)
                lengths.append(lengths[numbers[satisfied, tail]] + 1)
        if len(states) > MOST_STATES:
            raise InputError(
                f"the required words give more than {MOST_STATES} states, each with a beam; require fewer words, or "
                "words of fewer tokens"
            )
        following.append(tuple(numbers[target] for target in targets))
    accepting = numbers[2 ** len(required) - 1, ()]
    return Machine(tokens, tuple(following), accepting, lengths[accepting])


def _advance(required: Required, satisfied: int, read: Phrase) -> tuple[int, Phrase]:
    """Return the state after `read`: the tokens so far that begin a phrase, and one more."""
    for number, alternatives in enumerate(required):
        if any(read[-len(phrase) :] == phrase for phrase in alternatives):
            satisfied |= 1 << number
    open_ = [p for number, phrases in enumerate(required) if not satisfied >> number & 1 for p in phrases]
    starts = (read[i:] for i in range(len(read)))  # the longest first
    return satisfied, next((s for s in starts if any(p[: len(s)] == s for p in open_)), ())


def as_required(value: Sequence[Sequence[Sequence[int]]]) -> Required:
    """Return `value` as tuples.

    Raises:
        InputError: it is not, for each required word, a list of alternatives with the ids of one token or more each.
    """
    try:
        required = tuple(tuple(tuple(phrase) for phrase in alternatives) for alternatives in value)
    except TypeError:
        required = ((),)
    if not all(alternatives and all(alternatives) for alternatives in required):
        raise InputError(
            f"required={str(value)[:80]}: expected a list of alternatives for each word, each a list of token ids, "
            "such as [[[17], [23, 5]], [[9]]]"
        )
    return required
