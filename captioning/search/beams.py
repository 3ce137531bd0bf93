"""The unfinished prefixes of beam searches, and how they grow by one token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.search.vocabulary import most_probable


@dataclass(frozen=True)
class Beams:
    """Prefixes of the i images that are still searched, best first.

    Attributes:
        tokens: (i, k, t) int64.
        token_scores: (i, k, t), the log-probability of each token.
        scores: (i, k), the sum of the tokens' scores.
    """

    tokens: Tensor
    token_scores: Tensor
    scores: Tensor

    @classmethod
    def empty(cls, num_images: int, device: torch.device) -> Beams:
        """Return one empty prefix per image."""
        return cls(
            tokens=torch.zeros(num_images, 1, 0, dtype=torch.int64, device=device),
            token_scores=torch.zeros(num_images, 1, 0, device=device),
            scores=torch.zeros(num_images, 1, device=device),
        )

    def grow(self, log_probs: Tensor, beam_size: int) -> tuple[Beams, Tensor]:
        """Find the 2K best continuations of each image by one token.

        Args:
            log_probs: of each prefix's next token, (i·k, V).
            beam_size: K.

        Returns:
            The continuations, best first, and the row of `log_probs` that each continues, (i, 2K).
        """
        num_images, width = self.scores.shape
        # An image's 2K best are among the 2K best of each prefix, so one search of the vocabulary is enough.
        step_scores, words = most_probable(log_probs, 2 * beam_size)
        num_words = words.shape[1]
        candidates = num_images, width * num_words
        totals = (self.scores.flatten()[:, None] + step_scores).view(candidates)
        scores, chosen = totals.topk(min(2 * beam_size, candidates[1]), dim=1)
        beam = chosen // num_words
        grown = self.pick(beam, scores).append(
            words.view(candidates).gather(1, chosen), step_scores.view(candidates).gather(1, chosen)
        )
        return grown, torch.arange(num_images, device=beam.device)[:, None] * width + beam

    def pick(self, index: Tensor, scores: Tensor) -> Beams:
        """Pick the prefixes `index`, (i, c), of each image; their scores are `scores`."""
        return Beams(pick(self.tokens, index), pick(self.token_scores, index), scores)

    def append(self, words: Tensor, step_scores: Tensor) -> Beams:
        """Append one word to each prefix, (i, k)."""
        return Beams(
            torch.cat([self.tokens, words[..., None]], 2),
            torch.cat([self.token_scores, step_scores[..., None]], 2),
            self.scores,
        )

    def images(self, index: Tensor) -> Beams:
        """Pick the images `index`."""
        return Beams(self.tokens[index], self.token_scores[index], self.scores[index])


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Pick from (i, k, ...) by (i, c) along the second dimension."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]
