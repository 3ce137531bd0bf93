"""The unfinished prefixes of beam searches, and how they grow by one token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.search.vocabulary import most_probable


@dataclass(frozen=True)
class Continuations:
    """The c best continuations of each of i images by one token, best first.

    Attributes:
        rows: (i, c) int64, the row of the prefix that each continues, counted over all images.
        words: (i, c) int64.
        step_scores: (i, c), the log-probability of the word.
        scores: (i, c), the sum of the tokens' scores.
    """

    rows: Tensor
    words: Tensor
    step_scores: Tensor
    scores: Tensor

    def first(self, count: int) -> Continuations:
        """Return the best `count` of each image, at most c."""
        rows, words, step_scores = (x[:, :count] for x in (self.rows, self.words, self.step_scores))
        return Continuations(rows, words, step_scores, self.scores[:, :count])

    def pick(self, index: Tensor, scores: Tensor) -> Continuations:
        """Pick the continuations `index`, (i, d), of each image; their scores are `scores`."""
        rows, words, step_scores = (x.gather(1, index) for x in (self.rows, self.words, self.step_scores))
        return Continuations(rows, words, step_scores, scores)


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

    def continuations(self, log_probs: Tensor, beam_size: int) -> Continuations:
        """Find the 2K best continuations of each image by one token.

        Args:
            log_probs: of each prefix's next token, (i·k, V).
            beam_size: K.
        """
        (num_images, width), vocab_size = self.scores.shape, log_probs.shape[1]
        scores, places = most_probable(log_probs, self.scores, 2 * beam_size)
        first = torch.arange(0, num_images * width, width, device=places.device)[:, None]
        step_scores = log_probs.reshape(num_images, width * vocab_size).gather(1, places)
        return Continuations(first + places // vocab_size, places % vocab_size, step_scores, scores)

    def extended(self, by: Continuations) -> Beams:
        """Return the prefixes that continuations make."""
        (num_images, count), rows = by.rows.shape, by.rows.flatten()

        def extend(x: Tensor, last: Tensor) -> Tensor:
            # Whole rows are selected much faster than by two indices.
            before = x.flatten(0, 1).index_select(0, rows).view(num_images, count, x.shape[2])
            return torch.cat([before, last[..., None]], 2)

        return Beams(extend(self.tokens, by.words), extend(self.token_scores, by.step_scores), by.scores)

    def grow(self, log_probs: Tensor, beam_size: int) -> tuple[Beams, Tensor]:
        """Extend the prefixes by their 2K best `continuations`, and return the row that each continues, (i, 2K)."""
        found = self.continuations(log_probs, beam_size)
        return self.extended(found), found.rows

    def pick(self, index: Tensor, scores: Tensor) -> Beams:
        """Pick the prefixes `index`, (i, c), of each image; their scores are `scores`."""
        return Beams(pick(self.tokens, index), pick(self.token_scores, index), scores)

    def images(self, index: Tensor) -> Beams:
        """Pick the images `index`."""
        return Beams(self.tokens[index], self.token_scores[index], self.scores[index])


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Pick from (i, k, ...) by (i, c) along the second dimension."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]
