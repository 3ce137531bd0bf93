"""The loop of searches that choose one token per row at each step and never revise it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.search.processors import Processor, apply
from captioning.search.vocabulary import log_probabilities
from captioning.text.tokenizer import SpecialTokens

Choose = Callable[[Tensor, Tensor], Tensor]
"""Maps the indices of the unfinished rows, (b), and their log-probabilities, (b, V), to one token each, (b)."""


def one_by_one(
    decoder: Decoder[State],
    features: ImageFeatures,
    special: SpecialTokens,
    *,
    choose: Choose,
    processors: Sequence[Processor],
    max_length: int,
    rows_per_image: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Extend rows token by token; rows that have ended leave the batch.

    Args:
        decoder: gives the log-probabilities.
        features: features of I images.
        special: the ids of the special tokens.
        choose: chooses the token of each row.
        processors: applied in order to the log-probabilities of each step.
        max_length: the maximum number of tokens, `<eos>` included.
        rows_per_image: n; the rows of an image are adjacent.

    Returns:
        For the I·n rows: the tokens, (I·n, T) int64, padded; their log-probabilities, (I·n, T), 0 at padding; and the
        sums of these, (I·n). A row for which every token was forbidden is all padding, and its sum is -inf.
    """
    num_rows, device = len(features) * rows_per_image, features.pooled.device
    tokens = torch.full((num_rows, max_length), special.pad, device=device)
    token_scores = torch.zeros(num_rows, max_length, device=device)
    rows = torch.arange(num_rows, device=device)  # the unfinished ones
    state = decoder.start(features)
    if rows_per_image > 1:
        state = state.rows(rows // rows_per_image)
    last = torch.full((num_rows,), special.bos, device=device)
    for t in range(max_length):
        logits, state = decoder.step(last, state)
        log_probs = apply(processors, t, tokens[rows, :t], log_probabilities(logits))
        last = choose(rows, log_probs)
        chosen = log_probs.gather(1, last[:, None])[:, 0]
        tokens[rows, t], token_scores[rows, t] = last, chosen
        running = ((last != special.eos) & (chosen > -torch.inf)).nonzero()[:, 0]
        if len(running) < len(rows):
            rows, last, state = rows[running], last[running], state.rows(running)
        if not len(rows):
            break
    scores = token_scores.sum(1)
    none = (scores == -torch.inf)[:, None]
    return tokens[:, : t + 1].masked_fill(none, special.pad), token_scores[:, : t + 1].masked_fill(none, 0.0), scores
