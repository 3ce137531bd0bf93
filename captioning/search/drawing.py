"""Draw words from distributions over a vocabulary, or from the part of them that a filter keeps.

    top-k      the k most probable words                               Fan et al. 2018, arXiv:1805.04833
    top-p      words w whose more probable words have a share below p  Holtzman et al. 2020, arXiv:1904.09751
    typical    words w for which those of smaller |H + log p| have a share below p, with the entropy H
                                                                       Meister et al. 2023, arXiv:2202.00666
    min-p      words w with p(w) >= p_base max p                       Nguyen et al. 2024, arXiv:2407.01082

A draw inverts the cumulative distribution function: with u uniform in [0, 1), it is the first word whose cumulative
probability exceeds u. Nothing sorts the vocabulary. For top-p and typical sampling, a word is drawn from the whole
distribution first. If the filter removes it, the filter also removes all words of smaller or equal keys, so the next
draw is from the words with larger keys, and so on. Every draw is from words that include all kept words. So the first
kept word that is drawn has the filtered distribution. The expected number of draws is at most 1 + ln(1 / p).

Differs: the papers keep the smallest set of words. Here words as probable as the last one of that set are kept too, so
that the order of equal words changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NUMBERS = 8  # for draws until a word is kept; more draws are hardly ever needed
_GROUP, _BLOCK = 16, 128  # words of a group in `largest`, and of a block in `inverse_cdf`


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which words may be drawn: those of top-k, and among these those of one further filter.

    Attributes:
        top_k: k; None for all words.
        top_p: p of top-p; None for all words. At most one of the three further filters is not None.
        min_p: p_base of min-p.
        typical_p: p of typical sampling.
    """

    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None

    @property
    def numbers(self) -> int:
        """How many random numbers a draw takes, needed or not."""
        return _NUMBERS if self.top_p is not None or self.typical_p is not None else 1

    def draw(self, log_probs: Tensor, uniform: Tensor) -> Tensor:
        """Draw a word from each row.

        Args:
            log_probs: (b, V) float32, unnormalised; -inf for words that cannot be drawn.
            uniform: (b, n) float64 in [0, 1), independent; n is `numbers`.

        Returns:
            (b) int64. A word of probability 0 is drawn only if the row has no other.
        """
        if self.top_k is not None and self.top_k < log_probs.shape[1]:
            log_probs, words = largest(log_probs, self.top_k)
            return words.gather(1, self._of_rest(log_probs, uniform)[:, None])[:, 0]
        return self._of_rest(log_probs, uniform)

    def _of_rest(self, log_probs: Tensor, uniform: Tensor) -> Tensor:
        lowest = torch.finfo(log_probs.dtype).min
        relative = log_probs - log_probs.amax(1, keepdim=True).clamp(min=lowest)
        if self.typical_p is not None and self.typical_p < 1:
            weights = relative.exp()
            return draw_until(self.typical_p, weights, typicality(relative, weights), uniform)
        weights = relative.exp_()  # the largest is 1, unless all words are forbidden
        if self.top_p is not None and self.top_p < 1:
            return draw_until(self.top_p, weights, weights, uniform)
        if self.min_p is not None:
            weights *= torch.ge(weights, self.min_p, out=torch.empty_like(weights))
        return inverse_cdf(weights, uniform[:, 0])[0]


def typicality(relative: Tensor, weights: Tensor) -> Tensor:
    """Compute -|H + log p(w)|, (b, V), in place of `relative`.

    Args:
        relative: the logarithms of `weights`.
        weights: (b, V), proportional to the probabilities.
    """
    # The logarithm of the total is a term of H and, with the other sign, of log p(w). It cancels.
    relative.clamp_(min=torch.finfo(relative.dtype).min)  # 0 log 0 = 0
    mean = (weights * relative).sum(1, keepdim=True) / weights.sum(1, keepdim=True)  # faster than `bmm` of one column
    return relative.sub_(mean).abs_().neg_()


def draw_until(share: float, weights: Tensor, keys: Tensor, uniform: Tensor) -> Tensor:
    """Draw from the words for which those with larger keys have less than a share of the weights.

    Args:
        share: in (0, 1).
        weights: (b, V), proportional to the probabilities.
        keys: (b, V).
        uniform: (b, n) float64 in [0, 1).

    Returns:
        (b) int64, the words.
    """
    wanted, rows = share * weights.sum(1), torch.arange(len(weights), device=weights.device)
    words = torch.zeros_like(rows)
    while True:
        words[rows], rest = inverse_cdf(weights, uniform[:, 0])
        # A comparison into floats and a product take a fifth of the time of `masked_fill`.
        larger = torch.gt(keys, keys.gather(1, words[rows, None]), out=torch.empty_like(weights)).mul_(weights)
        mass = larger.sum(1)
        left = ((mass >= wanted) & (mass > 0)).nonzero()[:, 0]
        if not len(left):
            return words
        # Where all numbers are used, what is left of the last one serves the next draw.
        uniform = uniform[:, 1:] if uniform.shape[1] > 1 else rest[:, None]
        rows, weights, keys, wanted, uniform = (x[left] for x in (rows, larger, keys, wanted, uniform))


def inverse_cdf(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw an index of each row with a probability proportional to its weight.

    Args:
        weights: (b, c), at least 0.
        uniform: (b) float64 in [0, 1).

    Returns:
        The indices, (b) int64; 0 where all weights are 0. No other index of weight 0 is drawn, whatever is rounded.
        And where each number lies in its index's part of the function, (b) in [0, 1]: uniform again, whatever was
        drawn.
    """
    num_rows, width = weights.shape
    num_blocks = width // _BLOCK
    if num_blocks < 2:
        return _inverse_cdf(weights, uniform)
    whole = num_blocks * _BLOCK  # cumulative sums of all words would take several times as long
    blocks = weights[:, :whole].view(num_rows, num_blocks, _BLOCK).sum(2)
    blocks = torch.cat([blocks, weights[:, whole:].sum(1, keepdim=True)], 1)
    block, rest = _inverse_cdf(blocks, uniform)
    index = block[:, None] * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = weights.gather(1, index.clamp(max=width - 1)).masked_fill(index >= width, 0.0)
    drawn, rest = _inverse_cdf(inside, rest)
    return block * _BLOCK + drawn, rest


def _inverse_cdf(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    cdf = weights.cumsum(1, dtype=torch.float64)
    target = uniform[:, None] * cdf[:, -1:]
    # The second number is the last index with a weight: rounding may put the target at the end.
    drawn = torch.minimum(torch.searchsorted(cdf, target, right=True), (cdf < cdf[:, -1:]).sum(1, keepdim=True))
    own = weights.gather(1, drawn).double()
    rest = (target - (cdf.gather(1, drawn) - own)) / own.clamp(min=torch.finfo(own.dtype).tiny)
    return drawn[:, 0], rest[:, 0].clamp(0.0, 1.0)


def largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest values of each row of (b, V), and where they are, as `torch.topk` does, but faster.

    The k largest values are in the k groups whose maxima are largest.
    """
    num_groups = x.shape[1] // _GROUP
    if num_groups < 2 * k:
        return x.topk(k, dim=1)
    whole = num_groups * _GROUP
    groups = x[:, :whole].view(len(x), _GROUP, num_groups).amax(1).topk(k, dim=1).indices
    index = (torch.arange(_GROUP, device=x.device)[:, None] * num_groups + groups[:, None]).flatten(1)
    index = torch.cat([index, torch.arange(whole, x.shape[1], device=x.device).expand(len(x), -1)], 1)
    best, chosen = x.gather(1, index).topk(k, dim=1)
    return best, index.gather(1, chosen)
