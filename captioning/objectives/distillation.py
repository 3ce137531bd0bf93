"""Word-level distillation: a student learns a teacher's distribution over the next word."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.data.batch import CaptionBatch
from captioning.decoders.attention import in_float
from captioning.decoders.decoder import Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.objectives.chunks import summed_loss


class Teacher(Protocol):
    """A captioner of the student's vocabulary, in evaluation mode; it may be an ensemble."""

    @property
    def decoder(self) -> Decoder[Any]:
        """Its decoder."""
        ...

    def features(self, batch: CaptionBatch) -> ImageFeatures:
        """Compute what its decoder reads of a batch."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move its weights; nothing happens if they are there."""
        ...


class Distillation:
    """The cross-entropy of the true words, mixed with that of the teacher's distribution q.

        L_t = -(1 - α) log p(S_t | I, S_<t) - α Σ_k q(k | I, S_<t) log p(k | I, S_<t)

    L is a mean over the batch's tokens. Source: Kim and Rush 2016 (arXiv:1606.07947), section 3.1.

    Args:
        teacher: gives q, without a gradient.
        weight: α.

    Raises:
        InputError: `weight` is not in 0..1.
    """

    def __init__(self, teacher: Teacher, *, weight: float = 0.5) -> None:
        if not 0 <= weight <= 1:
            raise InputError(f"weight={weight} must be in 0..1")
        self.teacher, self.weight = teacher, weight

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the objective itself: it never changes, and its teacher may be large."""
        return self

    def __call__(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        inputs, targets, teacher = batch.inputs(), batch.targets().data, self.teacher
        with torch.no_grad():
            teacher.to(targets.device)
            taught = teacher.decoder.hidden(teacher.features(batch), inputs, batch.image_index)

        def loss(logits: Tensor, own: Tensor, h: Tensor) -> Tensor:
            log_p = logits.log_softmax(1)
            with torch.no_grad():
                q = in_float(teacher.decoder.head(h)).softmax(1)
            return F.nll_loss(log_p, own, reduction="none").lerp(-(q * log_p).sum(1), self.weight)

        hidden = decoder.hidden(features, inputs, batch.image_index)
        return summed_loss(decoder, hidden, loss, targets, taught) / len(targets)
