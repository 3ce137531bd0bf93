"""Learn word vectors by CBOW: predict each word from the mean of its neighbours' vectors.

Efficient Estimation of Word Representations in Vector Space. Mikolov, Chen, Corrado, Dean. 2013. arXiv:1301.3781,
section 3.1.
Distributed Representations of Words and Phrases and their Compositionality. Mikolov, Sutskever, Chen, Corrado, Dean.
NIPS 2013. arXiv:1310.4546, section 2.2.

    v = mean of the vectors of up to c past and c future words            section 3.1; c = 4
    L = -log softmax(U v)_o                                               log-linear
    L = -log sigma(u_o . v) - sum_{i=1..k} log sigma(-u_{n_i} . v)        (4) of 1310.4546, n_i drawn from unigram^(3/4)

    symbol    code                      shape
    v         mean of `vectors`         (P, E), P positions of a batch
    u_w       a row of `output`         (V, E)
    o         middle                    (P,)
    n_i       negatives                 (P, k)

Differs: the full softmax replaces the paper's hierarchical softmax.
Differs: Adam in batches replaces SGD after each word. The learning rate decays linearly to zero, as in the paper.
Differs: a window does not reach past its sentence.
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
"""Build, from word counts (V,) and E, a module that maps v (P, E) and the middle words (P,) to the mean loss."""


@dataclass(frozen=True)
class Corpus:
    """Sentences as indices of words.

    Attributes:
        words: the V words, most frequent first.
        sentences: the indices of each sentence's words in `words`; rare words are left out.
    """

    words: list[str]
    sentences: list[list[int]]

    @classmethod
    def from_sentences(cls, sentences: Iterable[str], *, min_count: int = 5) -> Corpus:
        """Tokenize sentences into words as `train_words` does.

        Raises:
            InputError: no word occurs `min_count` times.
        """
        sentences = list(sentences)
        tokenizer = train_words(sentences, min_count=min_count)
        special = set(vars(tokenizer.special).values())
        ids = [i for i in range(len(tokenizer)) if i not in special]
        index_of = {i: index for index, i in enumerate(ids)}
        encoded = tokenizer.encode(sentences)
        return cls([tokenizer.token(i) for i in ids], [[index_of[i] for i in s if i in index_of] for s in encoded])

    def counts(self) -> Tensor:
        """Count how often each word occurs, (V,)."""
        indices = torch.tensor([word for sentence in self.sentences for word in sentence])
        return torch.bincount(indices, minlength=len(self.words))


class Windows:
    """Every word of a corpus that has neighbours, together with its neighbours.

    Args:
        sentences: the word indices of each sentence.
        size: c, the number of words on either side.
        pad: an index that no word has; it fills the positions outside a sentence.
    """

    def __init__(self, sentences: Sequence[Sequence[int]], size: int, *, pad: int) -> None:
        gap = [pad] * size  # of width c, so that no window covers two sentences
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
        """Return the padded neighbours (P, 2 c) and the middle words (P,) of the windows `index` (P,)."""
        at = self.positions[index]
        return self.flat[at[:, None] + self.offsets], self.flat[at]


class Softmax(nn.Module):
    """The loss -log softmax(U v)_o.

    Args:
        counts: word counts (V,); only V is used.
        size: embedding width E.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.zeros(len(counts), size))

    def forward(self, v: Tensor, middle: Tensor) -> Tensor:
        """Compute the mean loss of P positions, in nats."""
        return F.cross_entropy(v @ self.output.T, middle)


class NegativeSampling(nn.Module):
    """The loss -log sigma(u_o . v) - sum_i log sigma(-u_{n_i} . v).

    Args:
        counts: word counts (V,); negatives are drawn in proportion to counts^(3/4).
        size: embedding width E.
        num_negatives: k; the paper uses 5 to 20 for small data sets.
    """

    def __init__(self, counts: Tensor, size: int, *, num_negatives: int = 5) -> None:
        super().__init__()
        self.num_negatives, self.noise = num_negatives, counts.double() ** 0.75
        self.output = nn.Parameter(torch.zeros(len(counts), size))

    def forward(self, v: Tensor, middle: Tensor) -> Tensor:
        """Compute the mean loss of P positions, in nats, with new random negatives."""
        drawn = torch.multinomial(self.noise, len(middle) * self.num_negatives, replacement=True)
        return self.loss(v, middle, drawn.view(len(middle), -1))

    def loss(self, v: Tensor, middle: Tensor, negatives: Tensor) -> Tensor:
        """Compute the mean loss of P positions with the given negatives (P, k)."""
        u = F.embedding(torch.cat([middle[:, None], negatives], dim=1), self.output)  # (P, 1 + k, E)
        scores = (u * v[:, None]).sum(2)  # faster than P small matrix products
        return -(F.logsigmoid(scores[:, 0]) + F.logsigmoid(-scores[:, 1:]).sum(1)).mean()


class CBOW(nn.Module):
    """The continuous bag-of-words model.

    Args:
        counts: word counts (V,).
        size: embedding width E.
        objective: builds the module that predicts the middle word.

    Attributes:
        vectors: (V + 1, E), the word vectors and one padding vector that stays zero.
    """

    def __init__(self, counts: Tensor, size: int, objective: Objective) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(len(counts) + 1, size, mode="mean", padding_idx=len(counts))
        with torch.no_grad():
            self.vectors.weight[:-1].uniform_(-0.5 / size, 0.5 / size)
        self.objective = objective(counts, size)

    def forward(self, context: Tensor, middle: Tensor) -> Tensor:
        """Compute the mean loss of words `middle` (P,) given `context` (P, 2 c). Means leave out padding."""
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
    """Learn the word vectors of a corpus. On one machine, the same seed gives the same vectors.

    Args:
        corpus: the sentences.
        objective: `Softmax`, `NegativeSampling`, or another `Objective`.
        size: embedding width E.
        window: c, the number of words on either side.
        epochs: passes over the corpus.
        batch_size: positions per step.
        learning_rate: the initial rate; it decays linearly to zero.
        seed: seeds the initial vectors, the order of positions, and the negatives.
        on_epoch: called with the epoch, counted from 1, and its mean loss.

    Raises:
        InputError: no word has a neighbour.
    """
    windows = Windows(corpus.sentences, window, pad=len(corpus.words))
    if not len(windows):
        raise InputError(
            "no sentence has two frequent words, so there is nothing to learn; lower min_count or give more text"
        )
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
