"""CBOW: a word is predicted from the mean of its neighbours' vectors.

Efficient Estimation of Word Representations in Vector Space. Mikolov, Chen, Corrado, Dean. 2013. arXiv:1301.3781,
section 3.1.
Distributed Representations of Words and Phrases and their Compositionality. Mikolov, Sutskever, Chen, Corrado, Dean.
NIPS 2013. arXiv:1310.4546, section 2.2.

    v = mean of the vectors of up to c past and c future words            section 3.1; c = 4
    L = -log softmax(U v)_o                                               log-linear
    L = -log sigma(u_o . v) - sum_{i=1..k} log sigma(-u_{n_i} . v)        (4) of 1310.4546, n_i drawn from unigram^(3/4)

    symbol    here                      shape
    v         the bag of `vectors`      (P, E), P positions of a batch
    u_w       a row of `output`         (V, E)
    o         middle                    (P,)
    n_i       negatives                 (P, k)

Differs: the whole softmax, which the paper's hierarchical one approximates; Adam in batches for SGD at each word, the
rate falling to zero along a line as the paper's. A window ends with its sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.errors import InputError
from captioning.text import train_words
from captioning.text.word_vectors import WordVectors

Objective = Callable[[Tensor, int], nn.Module]
"""Builds, of the words' counts (V,) and E, a module that maps v (P, E) and the middle words (P,) to the mean loss."""


@dataclass(frozen=True)
class Corpus:
    """Sentences as words' numbers.

    Attributes:
        words: the V words, in the order of their numbers: the most frequent first.
        sentences: numbers of the words of each sentence; words that are too rare are left out.
    """

    words: list[str]
    sentences: list[list[int]]

    @classmethod
    def of(cls, sentences: Iterable[str], *, min_count: int = 5) -> Corpus:
        """Cut sentences into the words of a captioner's vocabulary.

        Raises:
            InputError: no word occurs `min_count` times.
        """
        sentences = list(sentences)
        tokenizer = train_words(sentences, min_count=min_count)
        special = set(vars(tokenizer.special).values())
        ids = [i for i in range(len(tokenizer)) if i not in special]
        number_of = {i: number for number, i in enumerate(ids)}
        encoded = tokenizer.encode(sentences)
        return cls([tokenizer.token(i) for i in ids], [[number_of[i] for i in s if i in number_of] for s in encoded])

    def counts(self) -> Tensor:
        """How often each word occurs, (V,)."""
        numbers = torch.tensor([word for sentence in self.sentences for word in sentence])
        return torch.bincount(numbers, minlength=len(self.words))


class Windows:
    """Every word of a corpus that has neighbours, and these.

    Args:
        sentences: numbers of the words.
        size: c, how many words to either side.
        pad: the number of no word.
    """

    def __init__(self, sentences: Sequence[Sequence[int]], size: int, *, pad: int) -> None:
        gap = [pad] * size  # as wide as a window's reach: none sees two sentences
        flat = [*gap]
        for sentence in sentences:
            flat += [*sentence, *gap]
        self.flat = torch.tensor(flat)
        self.offsets = torch.cat([torch.arange(-size, 0), torch.arange(1, size + 1)])
        is_word = self.flat != pad
        self.positions = (is_word & (is_word.roll(1) | is_word.roll(-1))).nonzero().squeeze(1)

    def __len__(self) -> int:
        return len(self.positions)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours (P, 2 c), padded, and middle words (P,), of the positions numbered by `index` (P,)."""
        at = self.positions[index]
        return self.flat[at[:, None] + self.offsets], self.flat[at]


class Softmax(nn.Module):
    """-log softmax(U v)_o.

    Args:
        counts: of the words, (V,); only their number counts.
        size: E.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.zeros(len(counts), size))

    def forward(self, v: Tensor, middle: Tensor) -> Tensor:
        """The mean loss of P positions, in nats."""
        return F.cross_entropy(v @ self.output.T, middle)


class NegativeSampling(nn.Module):
    """-log sigma(u_o . v) - sum_i log sigma(-u_{n_i} . v).

    Args:
        counts: of the words, (V,); words are drawn in proportion to their counts' power 3/4.
        size: E.
        num_negatives: k; the paper's is 5 to 20 where data are few.
    """

    def __init__(self, counts: Tensor, size: int, *, num_negatives: int = 5) -> None:
        super().__init__()
        self.num_negatives, self.noise = num_negatives, counts.double() ** 0.75
        self.output = nn.Parameter(torch.zeros(len(counts), size))

    def forward(self, v: Tensor, middle: Tensor) -> Tensor:
        """The mean loss of P positions, in nats, with words drawn anew."""
        drawn = torch.multinomial(self.noise, len(middle) * self.num_negatives, replacement=True)
        return self.loss(v, middle, drawn.view(len(middle), -1))

    def loss(self, v: Tensor, middle: Tensor, negatives: Tensor) -> Tensor:
        """The mean loss of P positions with these negatives (P, k)."""
        u = F.embedding(torch.cat([middle[:, None], negatives], dim=1), self.output)  # (P, 1 + k, E)
        scores = (u * v[:, None]).sum(2)  # faster than P products of small matrices
        return -(F.logsigmoid(scores[:, 0]) + F.logsigmoid(-scores[:, 1:]).sum(1)).mean()


class CBOW(nn.Module):
    """The model.

    Args:
        counts: of the words, (V,).
        size: E.
        objective: builds what predicts the middle word.

    Attributes:
        vectors: of the words, and one of padding that stays zero, (V + 1, E).
    """

    def __init__(self, counts: Tensor, size: int, objective: Objective) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(len(counts) + 1, size, mode="mean", padding_idx=len(counts))
        with torch.no_grad():
            self.vectors.weight[:-1].uniform_(-0.5 / size, 0.5 / size)
        self.objective = objective(counts, size)

    def forward(self, context: Tensor, middle: Tensor) -> Tensor:
        """The mean loss of words `middle` (P,) among `context` (P, 2 c); padding counts in no mean."""
        loss: Tensor = self.objective(self.vectors(context), middle)
        return loss


def train_cbow(
    corpus: Corpus,
    objective: Objective,
    *,
    size: int = 300,
    window: int = 4,
    epochs: int = 5,
    batch_size: int = 1024,
    learning_rate: float = 5e-3,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> WordVectors:
    """Learn the vectors of a corpus's words; the same from the same seed on one machine.

    Args:
        corpus: the sentences.
        objective: `Softmax`, `NegativeSampling`, or one made likewise.
        size: E.
        window: c, words to either side.
        epochs: passes over the corpus.
        batch_size: positions in a step.
        learning_rate: of the first step; it falls to zero along a line.
        seed: of the first vectors, the order, and what is drawn.
        on_epoch: told the epoch, from 1, and its mean loss.

    Raises:
        InputError: no word has a neighbour.
    """
    windows = Windows(corpus.sentences, window, pad=len(corpus.words))
    if not len(windows):
        raise InputError("no sentence has two words that are frequent enough: there is nothing to learn from")
    num_steps = epochs * -(-len(windows) // batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CBOW(corpus.counts(), size, objective)
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / num_steps)
        for epoch in range(1, epochs + 1):
            total = 0.0
            for index in torch.split(torch.randperm(len(windows)), batch_size):
                loss = model(*windows.rows(index))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(index)
            if on_epoch is not None:
                on_epoch(epoch, total / len(windows))
    return WordVectors(corpus.words, model.vectors.weight.detach()[:-1].numpy().astype(np.float32))
