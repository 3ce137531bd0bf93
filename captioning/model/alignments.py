"""Which words of a sentence a model looks at while it says each word of the translation, and images of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from captioning.encoders.text import TextEncoder
from captioning.encoders.text_transform import NO_TOKEN
from captioning.errors import InputError
from captioning.model.attention_maps import follow, shown
from captioning.model.captioner import Captioner


@dataclass(frozen=True)
class Alignment:
    """A sentence, its translation, and how much each source token weighed when a token was chosen.

    Attributes:
        source: the source's tokens as the encoder reads them, `<eos>` last.
        target: the translation's, `<eos>` last.
        weights: (target, source); each row sums to 1.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: Tensor


def align(captioner: Captioner, texts: Sequence[str], translations: Sequence[str]) -> list[Alignment]:
    """Follow the attention of `captioner` while it says `translations`, its own or any others.

    Args:
        captioner: of sentences, with a decoder that attends.
        texts: the sentences.
        translations: one for each.

    Raises:
        InputError: the model captions images, or its decoder does not attend.
    """
    encoder = captioner.encoder
    if not isinstance(encoder, TextEncoder):
        raise InputError("this model captions images; an alignment is of a sentence and its translation")
    ids, tokenizer = encoder.transform(texts), encoder.transform.tokenizer
    sources = [
        tuple(shown(tokenizer, i) for i in own if i != NO_TOKEN) for own in encoder.in_reading_order(ids).tolist()
    ]
    return [
        Alignment(source, target, weights[:, : len(source)])
        for source, (target, weights) in zip(sources, follow(captioner, ids, translations), strict=True)
    ]


def save(alignment: Alignment, path: Path) -> None:
    """Draw a matrix, dark where a target token (a row) looked at a source token (a column), as a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows, columns = alignment.weights.shape
    figure = Figure(figsize=(1.5 + 0.42 * columns, 1.5 + 0.36 * rows), layout="constrained")
    ax = figure.subplots()
    ax.imshow(alignment.weights.numpy(), cmap="Greys", vmin=0, vmax=1)
    ax.set_xticks(range(columns), alignment.source, rotation=90)
    ax.set_yticks(range(rows), alignment.target)
    ax.xaxis.tick_top()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
