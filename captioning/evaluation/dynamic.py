"""Dynamic evaluation: a language model goes on learning from the text on which it is evaluated.

Sources: Mikolov et al. 2010, "Recurrent neural network based language model" (a "dynamic" model); Graves 2013
(arXiv:1308.0850), section 3.1. Every caption is predicted before the model learns from it, and is seen once:

    L_n = -Σ_t log Pr(S_{n,t} | S_{n,<t}; w_{n-1})          w_0: the trained weights
    w_n = w_{n-1} - η clip(∇ L_n / T_n)                     one step for each caption

T_n is the number of tokens of caption n. The norm of the gradient is clipped to 1. The result depends on the order of
the captions, and it helps most where neighbours are about the same thing.

Differs: the steps are those of plain gradient descent. The papers keep their training's (Graves's has a momentum).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from rich.progress import track
from torch import nn

from captioning.data.batch import collate
from captioning.data.module import CaptionDataModule
from captioning.decoders.decoder import Decoder
from captioning.decoders.language_model import LanguageModel
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError, shown
from captioning.model.captioner import Captioner
from captioning.objectives import token_losses

MAX_NORM = 1.0
"""What the norm of a gradient is clipped to."""


def evaluate_dynamically(captioner: Captioner, data: CaptionDataModule, *, learning_rate: float) -> dict[str, float]:
    """Evaluate a language model dynamically on the data module's split, in the order of the data set.

    The captioner itself is not changed.

    Args:
        captioner: in evaluation mode.
        data: a data module that was built with the captioner's tokenizer.
        learning_rate: η.

    Returns:
        "learning_rate"; and "loss" (nats per token), "perplexity" and "bits_per_character", as in
        `captioning.evaluation.predictions.Evaluation`.

    Raises:
        InputError: see `check_dynamic`.
    """
    check_dynamic(captioner, learning_rate)
    texts = data.splits.captions(data.split)
    captions = captioner.tokenizer.encode(texts)
    losses = dynamic_losses(
        captioner.decoder,
        track(captions, "dynamic evaluation"),
        feature_size=captioner.encoder.feature_size,
        pad=captioner.tokenizer.special.pad,
        learning_rate=learning_rate,
    )
    nats, num_tokens = sum(losses), sum(len(ids) - 1 for ids in captions)
    loss = nats / num_tokens
    return {
        "learning_rate": learning_rate,
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_character": nats / math.log(2) / sum(len(text) + 1 for text in texts),
    }


def check_dynamic(captioner: nn.Module, learning_rate: object) -> None:
    """Check that a model can be evaluated dynamically.

    Raises:
        InputError: it is no language model, or η is no number above 0.
    """
    if not isinstance(captioner, Captioner) or type(captioner.decoder) is not LanguageModel:
        raise InputError(
            "dynamic: only language models are evaluated dynamically; leave it out, or name one in bundle="
        )
    if (
        isinstance(learning_rate, bool)
        or not isinstance(learning_rate, int | float)
        or not 0 < learning_rate < math.inf
    ):
        raise InputError(f"dynamic={shown(learning_rate)}: expected a learning rate above 0, such as 0.1")


def dynamic_losses(
    decoder: Decoder[Any],
    captions: Iterable[Sequence[int]],
    *,
    feature_size: int,
    pad: int,
    learning_rate: float,
) -> Iterator[float]:
    """Compute the loss of each caption with weights that have learned from the captions before it.

    Args:
        decoder: a language model; a copy of it learns, without dropout.
        captions: token ids, from `<bos>` to `<eos>`.
        feature_size: F, of the features that the language model ignores.
        pad: the id of `<pad>`.
        learning_rate: η.

    Yields:
        L_n, the sum over a caption's tokens of -log p, in nats.
    """
    learner = copy.deepcopy(decoder).eval().requires_grad_(True)
    weights = list(learner.parameters())
    no_image = ImageFeatures(weights[0].new_zeros(1, feature_size))
    for ids in captions:
        with torch.enable_grad():
            losses = token_losses(learner, no_image, collate([0], [[ids]], pad=pad))
            gradients = torch.autograd.grad(losses.mean(), weights)
        yield losses.detach().double().sum().item()
        step = learning_rate * min(1.0, MAX_NORM / max(nn.utils.get_total_norm(gradients).item(), 1e-12))
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(gradient, alpha=step)
