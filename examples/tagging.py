"""Tag each word of a caption (one to one: each tag comes from the recurrent layer's output at its word).

    x_t = W_e S_t;   h_t = RNN(x_t, ..);   p(tag of S_t) = softmax(W h_t + b)

The tags are colour, number, thing and other. They come from lists of words, not from grammar: a word always has one
tag ("orange" is a colour), and a thing is a noun of THINGS or of the annotated objects' categories, singular or plural.
A network could learn these lists, so some words are hidden as `<unk>`. Only those are trained on and scored: their tags
must be inferred from the words around them.

    python examples/tagging.py            on generated scenes
    python examples/tagging.py FOLDER     on captions in COCO's layout, with the categories of its instances
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioning.data.readers.coco import coco_files, read_coco
from captioning.data.scenes import write_scenes
from captioning.encoders import TextEncoder, TextTransform
from captioning.recurrent import LSTM, Bidirectional, SequenceLayer
from captioning.text import Tokenizer, train_words

TAGS = ("colour", "number", "thing", "other")
COLOURS = "red orange yellow green blue purple pink brown black white gray grey"
NUMBERS = "one two three four five six seven eight nine ten"
THINGS = """
    ball sphere box gift present ring hoop house cottage boat sailboat car tree fish heart star cross triangle
    man woman boy girl child kid baby toddler lady guy person player crowd family dog cat horse bird bear animal
    street road sidewalk building wall window door fence room kitchen bathroom table chair desk bed sign
    field grass park beach water ocean pool snow sand mountain hill rock sky court
    shirt jacket hat dress helmet bike bicycle motorcycle bus train plane truck ball bat food plate bowl
"""
IRREGULAR = {"child": "children", "mouse": "mice", "person": "people"} | {
    same: same for same in ("fish", "grass", "scissors", "sheep", "skis")
}
BOTH_WAYS = partial(Bidirectional, layer=LSTM)


def plural(noun: str) -> str:
    """Form the plural of an English noun, by rules and a few exceptions."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith("man"):
        return f"{noun[:-2]}en"
    if noun.endswith("fe"):
        return f"{noun[:-2]}ves"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def lexicon(categories: Iterable[str] = ()) -> dict[str, str]:
    """List the tag of each word that is not "other".

    Args:
        categories: names of more things; the last word of a name is the noun, as in "teddy bear".
    """
    nouns = {*THINGS.split(), *(name.split()[-1] for name in categories)}
    tags = {word: "thing" for noun in nouns for word in (noun, plural(noun))}
    return tags | dict.fromkeys(COLOURS.split(), "colour") | dict.fromkeys(NUMBERS.split(), "number")


class Tagger(nn.Module):
    """A sentence encoder, and a layer that reads its output at each word."""

    def __init__(
        self, tokenizer: Tokenizer, tag_of: dict[str, str], recurrent: Callable[[int, int], SequenceLayer]
    ) -> None:
        super().__init__()
        self.encoder = TextEncoder(vocab_size=len(tokenizer), recurrent=recurrent, embedding_size=32, hidden_size=64)
        self.encoder.transform = TextTransform(tokenizer)
        self.head = nn.Linear(self.encoder.feature_size, len(TAGS))
        self.tags = torch.tensor([TAGS.index(tag_of.get(word, "other")) for word in tokenizer.vocabulary])

    def forward(self, texts: Tensor) -> Tensor:
        """Compute the tags' scores, (N, S, tags), at each token of sentences (N, S)."""
        scores: Tensor = self.head(self.encoder(texts).grid)
        return scores

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize captions and hide a quarter of the words; return ids, tags and which are hidden, (N, S) each."""
        transform, special = self.encoder.transform, self.encoder.transform.tokenizer.special
        texts = transform(captions)
        known = (texts >= 0) & (texts != special.eos) & (texts != special.unk)
        hidden = known & (torch.rand(texts.shape) < 0.25)
        return texts.masked_fill(hidden, special.unk), self.tags[texts], hidden


def read(folder: Path, split: str) -> tuple[list[str], set[str]]:
    """Read a split's captions, and the categories of its annotated objects."""
    captions, instances, images_folder = coco_files(folder, split)
    images = read_coco(captions, images_folder, instances if instances.is_file() else None, check_files=False)
    return [caption for image in images for caption in image.captions], {o.category for i in images for o in i.objects}


def train(
    captions: Sequence[str],
    *,
    tag_of: dict[str, str] | None = None,
    recurrent: Callable[[int, int], SequenceLayer] = BOTH_WAYS,
    steps: int = 150,
) -> Tagger:
    """Train a tagger on `steps` batches of captions, with the tags of a `lexicon`."""
    torch.manual_seed(0)
    tagger = Tagger(train_words(captions, min_count=2), tag_of or lexicon(), recurrent)
    optimizer = torch.optim.Adam(tagger.parameters(), lr=5e-3)
    for rows in torch.randint(len(captions), (steps, 64)).tolist():
        texts, tags, hidden = tagger.encode([captions[row] for row in rows])
        loss = F.cross_entropy(tagger(texts)[hidden], tags[hidden])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tagger


def accuracy(tagger: Tagger, captions: Sequence[str]) -> tuple[float, float]:
    """Compute the share of hidden words that are tagged correctly, and the share that has the most frequent tag."""
    torch.manual_seed(0)  # every tagger has the same words hidden
    texts, tags, hidden = tagger.encode(captions)
    with torch.inference_mode():
        right = (tagger(texts).argmax(2) == tags)[hidden]
    return right.float().mean().item(), tags[hidden].bincount().max().item() / len(right)


def main(
    folder: Path, *, recurrent: Callable[[int, int], SequenceLayer] = BOTH_WAYS, steps: int = 150
) -> tuple[float, float]:
    """Train on the training split; print and return the accuracy on val, and that of always the most frequent tag."""
    captions, categories = read(folder, "train")
    tagger = train(captions, tag_of=lexicon(categories), recurrent=recurrent, steps=steps)
    right, chance = accuracy(tagger, read(folder, "val")[0])
    print(f"{right:.3f} of hidden words are tagged correctly; always the most frequent tag: {chance:.3f}")
    return right, chance


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        if len(sys.argv) < 2:
            write_scenes(made, num_train=300, num_val=60, num_test=1, size=32)
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
