"""The interface of objectives, and the check that a decoder provides what an objective needs."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.decoders.decoder import Capability, Decoder
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

_FROM_DECODERS = {
    Capability.REGIONS: "set objective=cross_entropy, or a decoder with attention such as decoder=soft_attention",
    Capability.SAMPLED_REGIONS: "set objective=cross_entropy, or decoder=hard_attention",
}
"""The capabilities that decoders provide, and advice if one is missing. The data provide the other capabilities."""


class Objective(Protocol):
    """Maps a decoder, features and captions to a loss; any function that does is an objective.

    An objective of another head than a decoder names the head's base class in a class attribute `trains`.
    An objective that needs more than logits declares it in a class attribute `needs`, a frozenset of `Capability`.

    Several processes train what one would with their batches together. For that, the loss must be a mean over the
    batch's tokens. An objective that averages over anything else has a method `means` with the same arguments, which
    returns the parts of the loss and the number of things that each averages (`captioning.objectives.Mean`).
    """

    def __call__(self, decoder: Decoder[Any], features: ImageFeatures, batch: CaptionBatch, /) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        ...


def needs(part: Any) -> frozenset[Capability]:
    """Return what a decoder or an objective declares to need; nothing if it declares nothing.

    Args:
        part: an object, its class, or a `functools.partial` of its class.
    """
    if isinstance(part, partial):
        part = part.func
    declared: frozenset[Capability] = getattr(part, "needs", frozenset())
    return declared


def check_objective(decoder: nn.Module, objective: Any) -> None:
    """Check that a decoder provides what an objective needs, and that the objective can train the decoder.

    Args:
        decoder: the decoder, or another head.
        objective: an objective, or a `functools.partial` of its class.

    Raises:
        InputError: the objective trains another kind of head, the decoder lacks something that the objective needs, or
            the decoder samples regions, through which the objective has no gradient.
    """
    kind = type(decoder).__name__
    built = objective.func if isinstance(objective, partial) else objective
    name = getattr(built, "__name__", type(built).__name__)
    trains: type[nn.Module] = getattr(built, "trains", Decoder)
    if not isinstance(decoder, trains):
        raise InputError(f"{name} trains a {trains.__name__}, found {kind}; choose another objective=")
    needed = needs(objective)
    provided: frozenset[Capability] = getattr(decoder, "provides", frozenset())
    for capability, advice in _FROM_DECODERS.items():
        if capability in needed - provided:
            raise InputError(f"{name} needs {capability}, which {kind} does not have; {advice}")
    if Capability.SAMPLED_REGIONS in provided - needed:
        raise InputError(f"{name} has no gradient through the regions that {kind} samples; set objective=reinforce")
