"""Many to one: a whole caption becomes one vector, the recurrent layer's last output.

    v(S) = RNN(S_1 .. S_T)_T;   s(S, S') = v(S) · v(S')
    L = -log softmax_j(s(S_i, S'_j))_i         S_i and S'_i: two captions of picture i; j: the pictures of a batch

Which of two captions belongs to a picture's set? The one that scores higher beside the picture's other captions.

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

from captioning.data.coco import coco_files, read_coco
from captioning.data.scenes import write_scenes
from captioning.encoders import TextEncoder, TextTransform
from captioning.recurrent import GRU
from captioning.text import train_words

SIZE = 5  # captions in a set


def read(folder: Path, split: str) -> list[str]:
    """A split's captions, SIZE of each picture after one another; pictures that have fewer are left out."""
    captions, _, pictures = coco_files(folder, split)
    sets = [image.captions for image in read_coco(captions, pictures) if len(image.captions) >= SIZE]
    return [caption for own in sets for caption in own[:SIZE]]


def encode(encoder: TextEncoder, captions: Sequence[str]) -> Tensor:
    """Captions as ids, padded, (N, S)."""
    return encoder.transform(captions)


def train(captions: Sequence[str], *, steps: int) -> TextEncoder:
    """An encoder that has learned from `steps` batches which captions are of one picture."""
    torch.manual_seed(0)
    tokenizer = train_words(captions, min_count=2)
    encoder = TextEncoder(vocab_size=len(tokenizer), recurrent=GRU, embedding_size=32, hidden_size=64)
    encoder.transform = TextTransform(tokenizer)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3)
    texts = encode(encoder, captions).unflatten(0, (-1, SIZE))  # (I, SIZE, S)
    for _ in range(steps):
        pictures, two = torch.randperm(len(texts))[:32], torch.randperm(SIZE)[:2]
        v = encoder(texts[pictures[:, None], two].flatten(0, 1)).pooled.unflatten(0, (-1, 2))
        loss = F.cross_entropy(v[:, 0] @ v[:, 1].T, torch.arange(len(v)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder


def accuracy(v: Tensor) -> float:
    """How often a set's own caption scores higher than another picture's, of all pairs; v is (I, SIZE, F)."""
    right = []
    for k in range(SIZE):
        others = torch.cat([v[:, :k], v[:, k + 1 :]], 1).mean(1)  # each set without its k-th caption
        scores = others @ v[:, k].T  # (I, I), a set's own caption on the diagonal
        right.append((scores.diag()[:, None] > scores)[~torch.eye(len(v), dtype=torch.bool)])
    return torch.cat(right).float().mean().item()


def main(folder: Path, *, steps: int = 100) -> float:
    """Train on the training split; print and return the share of val's pairs that are told apart."""
    encoder = train(read(folder, "train"), steps=steps)
    with torch.inference_mode():
        right = accuracy(encoder(encode(encoder, read(folder, "val"))).pooled.unflatten(0, (-1, SIZE)))
    print(f"{right:.3f} of pairs; chance: 0.500")
    return right


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        if len(sys.argv) < 2:
            write_scenes(made, num_train=300, num_val=60, num_test=1, size=32)
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
