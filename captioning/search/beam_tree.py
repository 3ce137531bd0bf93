"""The prefixes of a beam search as a tree, and a drawing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.search.beam import BeamSearch
from captioning.search.beam_record import Outcome, hypotheses, record
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
    recorded = record(search, decoder, features, special)
    best = next(iter(hypotheses(recorded.found)), ())
    outcomes = (Outcome.CONTINUED, Outcome.HYPOTHESIS)
    kept = [candidate for candidate in recorded.candidates if candidate.outcome in outcomes]
    kept.sort(key=lambda candidate: (len(candidate.tokens), outcomes.index(candidate.outcome)))
    root = Node((), 0.0, True)
    return [root, *(Node(one.tokens, one.log_prob, best[: len(one.tokens)] == one.tokens) for one in kept)]


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
