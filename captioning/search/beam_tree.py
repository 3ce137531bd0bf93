"""The prefixes that a beam search kept, as a tree, and a drawing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.search.beam import BeamSearch
from captioning.search.hypotheses import Hypotheses
from captioning.search.processors import Processor
from captioning.text.tokenizer import SpecialTokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Node:
    """A prefix that a search kept; the node it grows from has all its tokens but the last.

    Attributes:
        tokens: without `<bos>`, so that the root has none; `<eos>` last where a caption ended.
        log_prob: the sum of the tokens' log-probabilities, in nats.
        best: whether the best hypothesis begins with it.
    """

    tokens: tuple[int, ...]
    log_prob: float
    best: bool


def beam_tree(
    search: BeamSearch, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens
) -> list[Node]:
    """Search for one image, and tell every prefix that the decoder was asked to continue, and the hypotheses found.

    Args:
        search: as it is; its result is that of the search alone.
        decoder: in eval mode.
        features: of one image.
        special: the special tokens' ids.

    Returns:
        The nodes, the root first, by their number of tokens; of equally long ones those that the search continued,
        the most probable first, then hypotheses.

    Raises:
        InputError: `features` are not of one image.
    """
    if len(features) != 1:
        raise InputError(f"a tree is of one image's search, but there are features of {len(features)} images")
    kept, watched = _Kept(special.eos), copy(search)
    watched.processors = (*search.processors, kept)  # last, to see what the search sees
    found = list(_captions(watched(decoder, features, special)))
    for tokens in found:
        kept.log_probs.setdefault(tokens, kept.extended(tokens))
    best = found[0] if found else ()
    nodes = [
        Node(tokens, value, best[: len(tokens)] == tokens)
        for tokens, value in kept.log_probs.items()
        if value > -torch.inf  # where few tokens are possible, impossible prefixes fill a beam
    ]
    return sorted(nodes, key=lambda node: len(node.tokens))


class _Kept(Processor):
    """Writes down the prefixes of every step and changes nothing.

    Where fewer than K prefixes go on, ended ones fill the beam, which the search ignores: they are no nodes.
    """

    def __init__(self, eos: int) -> None:
        self.eos = eos
        self.log_probs: dict[tuple[int, ...], float] = {(): 0.0}
        self.following: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, _step: int, tokens: Tensor, log_probs: Tensor, /) -> Tensor:
        for prefix, following in zip(map(tuple, tokens.tolist()), log_probs, strict=True):
            if self.eos in prefix:
                continue
            if prefix:
                self.log_probs[prefix] = self.extended(prefix)
            self.following[prefix] = following
        return log_probs

    def extended(self, tokens: tuple[int, ...]) -> float:
        """The log-probability of a prefix that was continued, and of the last token after it."""
        return self.log_probs[tokens[:-1]] + self.following[tokens[:-1]][tokens[-1]].item()


def _captions(found: Hypotheses) -> Iterator[tuple[int, ...]]:
    """The first image's hypotheses, best first, without padding."""
    for tokens, length in zip(found.tokens[0].tolist(), found.lengths[0].tolist(), strict=True):
        if length:
            yield tuple(tokens[:length])


def draw(nodes: list[Node], spell: Callable[[int], str]) -> Figure:
    """Draw a tree from left to right, a column a token, each over its prefix's log-probability; the best is black.

    Args:
        nodes: of `beam_tree`.
        spell: a token as it is to be read, such as `tokenizer.token`.
    """
    from matplotlib.figure import Figure

    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(len(node.tokens), []).append(node)
    rows = max(map(len, columns.values()))
    figure = Figure(figsize=(0.9 * len(columns), 0.7 * rows + 0.3), layout="constrained")
    ax = figure.subplots()
    at = {node.tokens: (x, -y) for x, column in columns.items() for y, node in enumerate(column)}
    for node in nodes:
        (x, y), color = at[node.tokens], "black" if node.best else "0.6"
        if node.tokens:
            before = at[node.tokens[:-1]]
            ax.plot([before[0], x], [before[1], y], color=color, linewidth=2 if node.best else 1, zorder=node.best)
        word = spell(node.tokens[-1]) if node.tokens else ""
        label = f"{word}\n{node.log_prob:.2f}"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        ax.text(x, y, label, ha="center", va="center", color=color, fontsize=9, bbox=box, zorder=2)
    ax.margins(x=0.5 / len(columns), y=0.5 / rows)
    ax.axis("off")
    return figure
