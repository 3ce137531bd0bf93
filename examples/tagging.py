"""One to one: each word of a caption gets a tag from a recurrent layer's output at that word.

    x_t = W_e S_t;   h_t = RNN(x_t, ..);   p(tag of S_t) = softmax(W h_t + b)

The tags are colour, number, thing and other. A word's own tag could be looked up, so some words are hidden as `<unk>`,
and those are scored: they must be told from what stands around them.

    python examples/tagging.py            on generated scenes
    python examples/tagging.py FOLDER     on captions in COCO's layout
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.coco import coco_files, read_coco
from captioning.data.scenes import write_scenes
from captioning.encoders import TextEncoder, TextTransform
from captioning.recurrent import LSTM, Bidirectional, SequenceLayer
from captioning.text import Tokenizer, train_words

TAGS = {
    "colour": "red orange yellow green blue purple pink brown black white gray grey",
    "number": "one two three four five six seven eight nine ten",
    "thing": "ball sphere box gift ring hoop house cottage boat sailboat car tree fish heart star cross triangle "
    "man woman boy girl person people dog cat horse bus train plane table plate pizza",
    "other": "",
}
TAG_OF = {word: number for number, words in enumerate(TAGS.values()) for word in words.split()}
BOTH_WAYS = partial(Bidirectional, layer=LSTM)


class Tagger(nn.Module):
    """An encoder of sentences, and a layer that reads its output at each word."""

    def __init__(self, tokenizer: Tokenizer, recurrent: Callable[[int, int], SequenceLayer]) -> None:
        super().__init__()
        self.encoder = TextEncoder(vocab_size=len(tokenizer), recurrent=recurrent, embedding_size=32, hidden_size=64)
        self.encoder.transform = TextTransform(tokenizer)
        self.head = nn.Linear(self.encoder.feature_size, len(TAGS))
        self.tag_of = torch.tensor([TAG_OF.get(word, len(TAGS) - 1) for word in tokenizer.vocabulary])

    def forward(self, texts: Tensor) -> Tensor:
        """Scores of the tags, (N, S, tags), at each token of sentences (N, S)."""
        scores: Tensor = self.head(self.encoder(texts).grid)
        return scores

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Captions as ids, one in four words hidden; the tags of all their words; which are hidden. (N, S) each."""
        transform, special = self.encoder.transform, self.encoder.transform.tokenizer.special
        texts = transform(captions)
        hidden = (texts >= 0) & (texts != special.eos) & (torch.rand(texts.shape) < 0.25)
        return texts.masked_fill(hidden, special.unk), self.tag_of[texts], hidden


def read(folder: Path, split: str) -> list[str]:
    """A split's captions."""
    captions, _, pictures = coco_files(folder, split)
    return [caption for image in read_coco(captions, pictures) for caption in image.captions]


def train(captions: Sequence[str], *, recurrent: Callable[[int, int], SequenceLayer], steps: int) -> Tagger:
    """A tagger that has learned from `steps` batches of captions."""
    torch.manual_seed(0)
    tagger = Tagger(train_words(captions, min_count=2), recurrent)
    optimizer = torch.optim.Adam(tagger.parameters(), lr=5e-3)
    for rows in torch.randint(len(captions), (steps, 64)).tolist():
        texts, tags, _ = tagger.encode([captions[row] for row in rows])
        real = texts >= 0
        loss = F.cross_entropy(tagger(texts)[real], tags[real])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tagger


def accuracy(tagger: Tagger, captions: Sequence[str]) -> tuple[float, float]:
    """The share of hidden words whose tag is right, and the share that has the most frequent tag."""
    torch.manual_seed(0)  # the same words are hidden from every tagger
    texts, tags, hidden = tagger.encode(captions)
    with torch.inference_mode():
        right = (tagger(texts).argmax(2) == tags)[hidden]
    return right.float().mean().item(), tags[hidden].bincount().max().item() / len(right)


def main(folder: Path, *, recurrent: Callable[[int, int], SequenceLayer] = BOTH_WAYS, steps: int = 150) -> float:
    """Train on the training split; print and return the accuracy on val."""
    tagger = train(read(folder, "train"), recurrent=recurrent, steps=steps)
    right, chance = accuracy(tagger, read(folder, "val"))
    print(f"{right:.3f} of hidden words are tagged right; the most frequent tag alone: {chance:.3f}")
    return right


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        if len(sys.argv) < 2:
            write_scenes(made, num_train=300, num_val=60, num_test=1, size=32)
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
