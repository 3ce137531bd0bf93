"""What a model attends to while it writes each word: maps over images, and alignments of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import unpack_sequence

from captioning.data.batch import collate
from captioning.decoders.decoder import AttentiveDecoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.mirrored import WithMirrored
from captioning.encoders.text import TextEncoder
from captioning.encoders.text_transform import NO_TOKEN, TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.files.atomic import replacing
from captioning.model.caption import readable
from captioning.model.captioner import Captioner
from captioning.modes import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5


@dataclass(frozen=True)
class AttentionMap:
    """An image, the words of a caption, and the attention weights of each word.

    Attributes:
        pixels: the image as the encoder reads it, (C, H, W) in 0..1.
        words: the caption's tokens, without `<bos>` and `<eos>`.
        weights: (words, h, w), over the encoder's grid. The attention weights of each word sum to 1.
    """

    pixels: Tensor
    words: tuple[str, ...]
    weights: Tensor


@dataclass(frozen=True)
class Alignment:
    """A sentence, its translation, and the attention weights of each target token.

    Attributes:
        source: the source's tokens as the encoder reads them, `<eos>` last.
        target: the translation's tokens, `<eos>` last.
        weights: (target, source); each row sums to 1.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: Tensor


def attention_maps(captioner: Captioner, inputs: Tensor, captions: Sequence[str]) -> list[AttentionMap]:
    """Compute the attention of a captioner over images while it writes captions.

    Args:
        captioner: a model with an attentive decoder.
        inputs: (I, C, H, W), from `Captioner.pixels`.
        captions: one for each image, its own or any others.

    Raises:
        InputError: the decoder has no attention, its regions do not form a grid, or the model translates sentences.
    """
    transform = captioner.transform
    if isinstance(transform, TextTransform):
        raise InputError("this model translates sentences; attention maps are drawn over images")
    found = attention_weights(captioner, inputs, captions)
    return [
        AttentionMap(image, words[:-1], over_grid(captioner.encoder, weights[:-1], transform))
        for image, (words, weights) in zip(shown_pixels(inputs, transform), found, strict=True)
    ]


def over_grid(encoder: Encoder, weights: Tensor, transform: ImageTransform) -> Tensor:
    """Lay the attention weights of T tokens, (T, regions), out over the image: (T, h, w).

    Raises:
        InputError: the regions form no grid.
    """
    num_views = 2 if isinstance(encoder, WithMirrored) else 1
    rows, columns = grid_shape(weights.shape[1] // num_views, *transform.size)
    if isinstance(encoder, WithMirrored):
        weights = encoder.unmirrored(weights, columns)
    return weights.reshape(-1, rows, columns)


def shown_pixels(inputs: Tensor, transform: ImageTransform) -> Tensor:
    """Undo the normalisation of an encoder's inputs, (I, C, H, W), so that they can be shown; in 0..1."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (transform.mean, transform.std))
    return (inputs * std + mean).clamp(0, 1)


def alignments(captioner: Captioner, texts: Sequence[str], translations: Sequence[str]) -> list[Alignment]:
    """Compute the attention of a translator over sentences while it writes translations.

    Args:
        captioner: a translator with an attentive decoder.
        texts: the sentences.
        translations: one for each, its own or any others.

    Raises:
        InputError: the model captions images, or its decoder has no attention.
    """
    encoder, transform = captioner.encoder, captioner.transform
    if not isinstance(encoder, TextEncoder) or not isinstance(transform, TextTransform):
        raise InputError("this model captions images; alignments are of sentences and their translations")
    ids, tokenizer = transform(texts), transform.tokenizer
    sources = [
        tuple(readable(tokenizer, i) for i in own if i != NO_TOKEN) for own in encoder.in_reading_order(ids).tolist()
    ]
    return [
        Alignment(source, target, weights[:, : len(source)])
        for source, (target, weights) in zip(sources, attention_weights(captioner, ids, translations), strict=True)
    ]


@torch.inference_mode()
def attention_weights(
    captioner: Captioner, inputs: Tensor, captions: Sequence[str]
) -> list[tuple[tuple[str, ...], Tensor]]:
    """Compute the attention weights of each token of a caption by teacher forcing.

    Teacher forcing gives the same weights as decoding step by step. These are therefore the weights that a search used
    when it found the caption, although searches do not store weights.

    Args:
        captioner: a model with an attentive decoder.
        inputs: the encoder's inputs for I images or sentences.
        captions: one for each.

    Returns:
        For each, the predicted tokens, `<eos>` last, and their weights over all regions, (T, R) float32.

    Raises:
        InputError: the decoder has no attention.
    """
    decoder, tokenizer = captioner.decoder, captioner.tokenizer
    if not isinstance(decoder, AttentiveDecoder):
        raise InputError(
            f"{type(decoder).__name__} reads one vector of the whole image and has no attention; attention maps need "
            "an attentive decoder, such as decoder=soft_attention"
        )
    ids = tokenizer.encode(list(captions))
    batch = collate(range(len(ids)), [[own] for own in ids], pad=tokenizer.special.pad).to(captioner.device)
    packed = batch.inputs()
    with evaluating(captioner):
        attended = decoder.attend(captioner.encode(inputs), packed, batch.image_index)
    by_caption = unpack_sequence(packed._replace(data=attended.attention.float().cpu()))
    weights = dict(zip(batch.image_index.tolist(), by_caption, strict=True))
    return [(tuple(readable(tokenizer, i) for i in own[1:]), weights[row]) for row, own in enumerate(ids)]


def grid_shape(num_regions: int, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of a grid with the aspect ratio of an image.

    Raises:
        InputError: the regions are no such grid.
    """
    rows = round((num_regions * height / width) ** 0.5)
    if rows == 0 or num_regions % rows:
        raise InputError(f"{num_regions} regions are not a grid over an image of {height} x {width} pixels")
    return rows, num_regions // rows


def draw_attention_map(attention_map: AttentionMap, *, brightest: Sequence[float] | None = None) -> Figure:
    """Draw the image, and one copy of it per word, bright where the weights are.

    Args:
        attention_map: the image, the words and their weights.
        brightest: the weight of each word that is drawn brightest; None for the largest of all words' weights.
    """
    from matplotlib.figure import Figure

    image = attention_map.pixels.permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    rows = -(-(len(attention_map.words) + 1) // COLUMNS)
    figure = Figure(figsize=(2.4 * COLUMNS, 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(image)
    if brightest is None:
        brightest = [float(attention_map.weights.max()) for _ in attention_map.words]  # an empty caption has none
    for ax, word, weights, top in zip(axes[1:], attention_map.words, attention_map.weights, brightest, strict=False):
        ax.imshow(image)
        ax.imshow(
            weights.numpy(),
            cmap="inferno",
            alpha=0.6,
            extent=(0, width, height, 0),
            interpolation="bicubic",
            vmin=0,
            vmax=top,
        )
        ax.set_title(f"{word}  {weights.max():.2f}")
    return figure


def draw_alignment(alignment: Alignment) -> Figure:
    """Draw a matrix, dark where a target token (row) attends to a source token (column)."""
    from matplotlib.figure import Figure

    rows, columns = alignment.weights.shape
    figure = Figure(figsize=(1.5 + 0.42 * columns, 1.5 + 0.36 * rows), layout="constrained")
    ax = figure.subplots()
    ax.imshow(alignment.weights.numpy(), cmap="Greys", vmin=0, vmax=1)
    ax.set_xticks(range(columns), alignment.source, rotation=90)
    ax.set_yticks(range(rows), alignment.target)
    ax.xaxis.tick_top()
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int = 100) -> None:
    """Write a figure as PNG; its folder is made if missing.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            figure.savefig(new, dpi=dpi, format="png")
    except OSError as error:
        raise InputError(f"{path}: the figure could not be written: {error.strerror or error}") from error
