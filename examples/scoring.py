"""Score which sentences belong together (many to one: the recurrent layer's last output is a sentence's vector).

    v(S) = RNN(S_1 .. S_T)_T;   s(S, S') = v(S) · v(S')
    L = -log softmax_j(s(S_i, S'_j))_i         S_i and S'_i: two sentences of set i; j: the sets of a batch

A set is the captions of one image. Which of two sentences belongs to a set? The one that scores higher with the set's
other sentences.

    python examples/scoring.py            on generated scenes
    python examples/scoring.py FOLDER     on captions in COCO's layout
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.data.readers.coco import coco_files, read_coco
from captioning.data.scenes import write_scenes
from captioning.encoders import TextEncoder, TextTransform
from captioning.recurrent import GRU
from captioning.text import train_words

SIZE = 5  # captions of each image


def read(folder: Path, split: str) -> list[tuple[str, ...]]:
    """Read the first SIZE captions of each image of a split; images that have fewer are left out."""
    captions, _, images_folder = coco_files(folder, split)
    images = read_coco(captions, images_folder, check_files=False)
    return [image.captions[:SIZE] for image in images if len(image.captions) >= SIZE]


def encode(encoder: TextEncoder, sets: Sequence[Sequence[str]]) -> Tensor:
    """Tokenize I sets of k sentences into padded ids, (I, k, S)."""
    return encoder.transform([sentence for own in sets for sentence in own]).unflatten(0, (len(sets), -1))


def train(sets: Sequence[Sequence[str]], *, steps: int) -> TextEncoder:
    """Train an encoder on `steps` batches to score the sentences of one set highest; all sets have the same size."""
    torch.manual_seed(0)
    tokenizer = train_words((sentence for own in sets for sentence in own), min_count=2)
    encoder = TextEncoder(vocab_size=len(tokenizer), recurrent=GRU, embedding_size=32, hidden_size=64)
    encoder.transform = TextTransform(tokenizer)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    texts = encode(encoder, sets)
    for _ in range(steps):
        rows, two = torch.randperm(len(sets))[:32], torch.randperm(texts.shape[1])[:2]
        v = encoder(texts[rows[:, None], two].flatten(0, 1)).pooled.unflatten(0, (-1, 2))
        loss = F.cross_entropy(v[:, 0] @ v[:, 1].T, torch.arange(len(v)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder


@torch.inference_mode()
def vectors(encoder: TextEncoder, sets: Sequence[Sequence[str]]) -> Tensor:
    """Compute the vector of each sentence of I sets of k, (I, k, F)."""
    return encoder(encode(encoder, sets).flatten(0, 1)).pooled.unflatten(0, (len(sets), -1))


def accuracy(v: Tensor) -> float:
    """Compute the share of pairs in which a set's own sentence scores higher than another set's; v is (I, k, F)."""
    right = []
    for k in range(v.shape[1]):
        others = torch.cat([v[:, :k], v[:, k + 1 :]], 1).mean(1)  # each set without its k-th sentence
        scores = others @ v[:, k].T  # (I, I), a set's own sentence on the diagonal
        right.append((scores.diag()[:, None] > scores)[~torch.eye(len(v), dtype=torch.bool)])
    return torch.cat(right).float().mean().item()


def main(folder: Path, *, steps: int = 100) -> float:
    """Train on the training split; print and return the share of pairs in val that are ranked correctly."""
    right = accuracy(vectors(train(read(folder, "train"), steps=steps), read(folder, "val")))
    print(f"{right:.3f} of pairs are ranked correctly; chance: 0.500")
    return right


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        if len(sys.argv) < 2:
            write_scenes(made, num_train=300, num_val=60, num_test=1, size=32)
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
