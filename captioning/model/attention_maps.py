"""Where a model looks while it says a caption, and images of that."""

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
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError
from captioning.model.captioner import Captioner, ImageLike, open_images
from captioning.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5


@dataclass(frozen=True)
class Look:
    """An image, the words of a caption, and how much each place weighed when a word was chosen.

    Attributes:
        pixels: the image as the encoder saw it, (C, H, W) in 0..1.
        words: the tokens of the caption, without `<bos>` and `<eos>`.
        weights: (words, h, w), over the encoder's grid; each word's sum to 1.
    """

    pixels: Tensor
    words: tuple[str, ...]
    weights: Tensor


@torch.inference_mode()
def looks(captioner: Captioner, images: Sequence[ImageLike], captions: Sequence[str]) -> list[Look]:
    """Follow the attention of `captioner` while it says `captions`, its own or any others.

    The caption is fed word by word. That is what a search did when it found it, since teacher forcing and stepping
    are equal; so no search has to carry weights for beams that it drops.

    Args:
        captioner: its decoder must attend.
        images: PIL images or paths.
        captions: one for each image.

    Raises:
        InputError: the decoder does not attend, or an image cannot be read.
    """
    transform = captioner.encoder.transform
    if isinstance(transform, TextTransform):
        raise InputError("this model translates sentences; maps of attention are drawn over images")
    pixels = torch.stack([transform(picture) for picture in open_images(images)])
    mean, std = (torch.tensor(x)[:, None, None] for x in (transform.mean, transform.std))
    return [
        Look(
            pixels=(picture * std + mean).clamp(0, 1),
            words=words[:-1],
            weights=_as_grid(weights[:-1], *transform.size),
        )
        for picture, (words, weights) in zip(pixels, follow(captioner, pixels, captions), strict=True)
    ]


@torch.inference_mode()
def follow(captioner: Captioner, inputs: Tensor, captions: Sequence[str]) -> list[tuple[tuple[str, ...], Tensor]]:
    """Feed captions to a decoder and tell where it looked.

    Args:
        captioner: its decoder must attend.
        inputs: what its encoder takes, of I images or sentences.
        captions: one for each.

    Returns:
        Of each, the tokens that were predicted, `<eos>` last, and the weights of all places at each, (T, R) float32.

    Raises:
        InputError: the decoder does not attend.
    """
    decoder, tokenizer, training = captioner.decoder, captioner.tokenizer, captioner.training
    if not isinstance(decoder, AttentiveDecoder):
        raise InputError(
            f"a {type(decoder).__name__} sees the whole at once and looks at no place of it; maps of attention need a "
            "decoder that attends, such as decoder=soft_attention"
        )
    ids = tokenizer.encode(list(captions))
    batch = collate(range(len(ids)), [[own] for own in ids], pad=tokenizer.special.pad).to(captioner.device)
    packed = batch.inputs()
    captioner.eval()  # nothing is dropped or drawn
    try:
        features = captioner.standardise(captioner.encoder(inputs.to(captioner.device)))
        attention = decoder.attend(features, packed, batch.image_index).attention.float().cpu()
    finally:
        captioner.train(training)
    by_caption = unpack_sequence(packed._replace(data=attention))
    weights = dict(zip(batch.image_index.tolist(), by_caption, strict=True))
    return [(tuple(shown(tokenizer, i) for i in own[1:]), weights[row]) for row, own in enumerate(ids)]


def shown(tokenizer: Tokenizer, i: int) -> str:
    """A token as people read it: without the marks that say how pieces of words join; ␣ is a blank."""
    special = vars(tokenizer.special).values()
    return tokenizer.token(i) if i in special else tokenizer.decode([i]).strip() or "␣"


def _as_grid(weights: Tensor, height: int, width: int) -> Tensor:
    """(T, R) as (T, h, w) with the image's proportions."""
    num_places = weights.shape[1]
    rows = round((num_places * height / width) ** 0.5)
    if rows == 0 or num_places % rows:
        raise InputError(f"{num_places} places are no grid of an image of {height} x {width} pixels")
    return weights.reshape(len(weights), rows, num_places // rows)


def draw(look: Look) -> Figure:
    """The image, and beside it one copy a word, bright where the word was said from; one scale for all words."""
    from matplotlib.figure import Figure

    picture = look.pixels.permute(1, 2, 0).numpy()
    height, width = picture.shape[:2]
    rows = -(-(len(look.words) + 1) // COLUMNS)
    figure = Figure(figsize=(2.4 * COLUMNS, 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(picture)
    for ax, word, weights in zip(axes[1:], look.words, look.weights, strict=False):
        ax.imshow(picture)
        ax.imshow(
            weights.numpy(),
            cmap="inferno",
            alpha=0.6,
            extent=(0, width, height, 0),
            interpolation="bicubic",
            vmin=0,
            vmax=float(look.weights.max()),
        )
        ax.set_title(f"{word}  {weights.max():.2f}")
    return figure


def save(look: Look, path: Path) -> None:
    """Write `draw`'s figure as a PNG.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(look).savefig(path, dpi=80)
    except OSError as error:
        raise InputError(f"{path}: the map of attention could not be written: {error.strerror or error}") from error
