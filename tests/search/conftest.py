"""A decoder that is a Markov chain, so that the best captions can be found by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from captioning.decoders.decoder import Decoder, State
from captioning.encoders.features import ImageFeatures
from captioning.text import SpecialTokens


@dataclass(frozen=True)
class ChainState(State):
    image: Tensor
    time: Tensor


class Chain(Decoder[ChainState]):
    """Image i's next token depends on the time and on the last token, by the logits `tables[i]`, (T, V, V).

    Attributes:
        rows: how many rows each call of `step` had.
    """

    def __init__(self, tables: Tensor) -> None:
        super().__init__()
        self.tables, self.vocab_size, self.head, self.rows = tables, tables.shape[-1], nn.Identity(), []

    @property
    def features(self) -> ImageFeatures:
        return ImageFeatures(torch.arange(len(self.tables))[:, None])

    def start(self, features):
        image = features.pooled[:, 0]
        return ChainState(image, torch.zeros_like(image))

    def step(self, tokens, state):
        self.rows.append(len(tokens))
        return self.tables[state.image, state.time, tokens], ChainState(state.image, state.time + 1)

    def hidden(self, features, inputs, image_index):
        raise NotImplementedError("search needs steps alone")


@pytest.fixture
def chain() -> Callable[..., Chain]:
    """Builds a chain of the images' transitions, {word: {next word: probability}} each, over `^ $ ? a b c`.

    `^` is `<bos>`, `$` is `<eos>`, `?` is `<unk>` and `.` is `<pad>`.
    """

    def make(*images: dict[str, dict[str, float]], words: str = ".^$?abc") -> Chain:
        tables = torch.zeros(len(images), len(words), len(words))
        for table, transitions in zip(tables, images, strict=True):
            for word, following in transitions.items():
                for after, probability in following.items():
                    table[words.index(word), words.index(after)] = probability
        tables[tables.sum(2) == 0] = 1.0  # words that are never reached
        return Chain(tables.log()[:, None].expand(-1, 30, -1, -1))

    return make


@pytest.fixture
def random_chain() -> Callable[..., Chain]:
    """Builds a chain over `num_words` words and the special tokens; no two captions have one probability."""

    def make(num_images: int, num_words: int, max_length: int, seed: int) -> Chain:
        random = torch.Generator().manual_seed(seed)
        shape = (num_images, max_length, num_words + 4, num_words + 4)
        return Chain(2 * torch.randn(*shape, generator=random))

    return make


@pytest.fixture
def spell() -> Callable[[Tensor], str]:
    """Spells token ids as the letters of `chain`."""
    return lambda tokens: "".join(".^$?abc"[i] for i in tokens.tolist())


@pytest.fixture
def special() -> SpecialTokens:
    """The ids that `chain` gives."""
    return SpecialTokens(pad=0, bos=1, eos=2, unk=3)
