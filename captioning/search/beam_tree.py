"""The prefixes of a beam search as a tree, and a drawing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
    """A prefix that the search continued, or a hypothesis; its parent has all its tokens but the last.

    Attributes:
        tokens: without `<bos>`, so the root has none; the last is `<eos>` where a caption ended.
        log_prob: the sum of the tokens' log-probabilities, in nats.
        best: whether the best hypothesis starts with it.
    """

    tokens: tuple[int, ...]
    log_prob: float
    best: bool


def beam_tree(
    search: BeamSearch, decoder: Decoder[State], features: ImageFeatures, special: SpecialTokens
) -> list[Node]:
    """Search for one image and record every prefix that the decoder continued, and the hypotheses found.

    Args:
        search: the search; recording does not change its result.
        decoder: in eval mode.
        features: of one image.
        special: the special tokens' ids.

    Returns:
        The nodes in the order of their number of tokens, the root first. Among equally long nodes, the prefixes that
        the search continued come first, from the most probable to the least, and the hypotheses follow.

    Raises:
        InputError: `features` are not those of exactly one image.
    """
    if len(features) != 1:
        raise InputError(f"a beam tree shows the search for one image; found features of {len(features)} images")
    kept = _Kept(special.eos)
    recorded = replace(search, processors=(*search.processors, kept))  # last, to see what the search sees
    found = list(_captions(recorded(decoder, features, special)))
    for tokens in found:
        kept.log_probs.setdefault(tokens, kept.extended(tokens))
    best = found[0] if found else ()
    nodes = [
        Node(tokens, value, best[: len(tokens)] == tokens)
        for tokens, value in kept.log_probs.items()
        if value > -torch.inf  # where few tokens are possible, impossible prefixes fill the beam
    ]
    return sorted(nodes, key=lambda node: len(node.tokens))


class _Kept(Processor):
    """Records the prefixes of every step and changes nothing.

    If an image has fewer than K prefixes to continue, ended prefixes fill the other rows of the beam. The search
    ignores these rows, so they are not recorded.
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
        """Return the log-probability of `tokens`, whose prefix without the last token was continued."""
        return self.log_probs[tokens[:-1]] + self.following[tokens[:-1]][tokens[-1]].item()


def _captions(found: Hypotheses) -> Iterator[tuple[int, ...]]:
    """Yield the first image's hypotheses, best first, without padding."""
    for tokens, length in zip(found.tokens[0].tolist(), found.lengths[0].tolist(), strict=True):
        if length:
            yield tuple(tokens[:length])


def draw(nodes: list[Node], spell: Callable[[int], str]) -> Figure:
    """Draw a tree from left to right, one column per token; the best hypothesis is black.

    The number below a token is the log-probability of the prefix that ends with this token.

    Args:
        nodes: from `beam_tree`.
        spell: maps a token id to text, such as `tokenizer.token`.
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
