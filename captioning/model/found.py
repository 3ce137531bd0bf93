"""From what a search found to captions with their words and alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import unpack_sequence

from captioning.data.batch import collate
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.caption import Caption, Word, readable
from captioning.search.hypotheses import Hypotheses
from captioning.search.processors import special_ids
from captioning.text.tokenizer import Tokenizer

_NUMBERS = 2**25
"""Logits that are computed at a time."""

Others = list[tuple[Word, ...]]
"""The runners-up of each token of a caption."""
Tokens = list[list[list[int]]]
"""The tokens of the captions of each image, without `<bos>` and padding."""


def captions_of(
    found: Hypotheses,
    decoder: Decoder[Any],
    features: ImageFeatures,
    tokenizer: Tokenizer,
    *,
    runners_up: int = 0,
    allow_unknown: bool = False,
) -> list[Caption]:
    """Make a caption of each image: the best hypothesis, and those with other texts as its alternatives.

    Args:
        found: the hypotheses of I images.
        decoder: the decoder that was searched, in evaluation mode.
        features: of the I images, as the decoder reads them.
        tokenizer: of the captions.
        runners_up: how many of the most probable other tokens each token gets. They are computed by teacher forcing of
            all captions in one batch.
        allow_unknown: whether `<unk>` can be one of them.

    Raises:
        InputError: `runners_up` is below 0.
    """
    if runners_up < 0:
        raise InputError(f"runners_up={runners_up} must be at least 0")
    kept, tokens = _different(found, tokenizer)
    others: list[list[Others]] = [[[()] * len(ids) for ids in own] for own in tokens]
    if runners_up:
        left_out = special_ids(tokenizer.special, allow_unknown=allow_unknown)
        others = _runners_up(decoder, features, tokenizer, tokens, runners_up, left_out)
    scores, token_scores, finished = found.scores.tolist(), found.token_scores.tolist(), found.finished.tolist()
    captions = [
        [
            Caption(text, scores[i][row], finished[i][row], _words(tokenizer, ids, token_scores[i][row], own))
            for (text, row), ids, own in zip(kept[i].items(), tokens[i], others[i], strict=True)
        ]
        for i in range(len(kept))
    ]
    none = Caption("", -math.inf, finished=False)
    return [replace(own[0], alternatives=tuple(own[1:])) if own else none for own in captions]


def _different(found: Hypotheses, tokenizer: Tokenizer) -> tuple[list[dict[str, int]], Tokens]:
    """Find the first hypothesis of each text: its row by its text, and its tokens, for each image."""
    kept: list[dict[str, int]] = []
    tokens: Tokens = []
    for own, lengths in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True):
        rows: dict[str, int] = {}
        for row, (ids, length) in enumerate(zip(own, lengths, strict=True)):
            if length:
                rows.setdefault(tokenizer.decode(ids[:length]), row)
        kept.append(rows)
        tokens.append([own[row][: lengths[row]] for row in rows.values()])
    return kept, tokens


def _words(tokenizer: Tokenizer, ids: Sequence[int], scores: Sequence[float], others: Others) -> tuple[Word, ...]:
    return tuple(
        Word(readable(tokenizer, i), score, own) for i, score, own in zip(ids, scores[: len(ids)], others, strict=True)
    )


def _runners_up(
    decoder: Decoder[Any],
    features: ImageFeatures,
    tokenizer: Tokenizer,
    tokens: Tokens,
    count: int,
    left_out: Sequence[int],
) -> list[list[Others]]:
    """Compute the most probable other tokens in the place of each token."""
    found: list[list[Others]] = [[[] for _ in own] for own in tokens]
    special = tokenizer.special
    rows = [[[special.bos, *ids] for ids in own] for own in tokens]
    if not any(rows):
        return found
    batch = collate(range(len(rows)), rows, pad=special.pad).to(features.pooled.device)
    inputs, targets = batch.inputs(), batch.targets().data
    hidden = decoder.hidden(features, inputs, batch.image_index)
    size = max(1, _NUMBERS // decoder.vocab_size)
    parts = [
        _most_probable(decoder.head(hidden[start : start + size]), targets[start : start + size], count, left_out)
        for start in range(0, len(targets), size)
    ]
    columns = [unpack_sequence(inputs._replace(data=torch.cat(part).cpu())) for part in zip(*parts, strict=True)]
    for i, n, scores, ids in zip(batch.image_index.tolist(), batch.caption_index.tolist(), *columns, strict=True):
        found[i][n] = [
            tuple(Word(readable(tokenizer, i), score) for i, score in zip(*row, strict=True) if score > -math.inf)
            for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]
    return found


def _most_probable(logits: Tensor, targets: Tensor, count: int, left_out: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and ids of the most probable tokens other than the targets, (rows, count) each."""
    log_probs = logits.float().log_softmax(1).scatter(1, targets[:, None], -torch.inf)
    log_probs[:, list(left_out)] = -torch.inf
    best = log_probs.topk(min(count, log_probs.shape[1]), dim=1)
    return best.values, best.indices
