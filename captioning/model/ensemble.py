"""Make one captioner of several: their decoders predict each word together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from captioning.decoders.decoder import Decoder
from captioning.decoders.ensemble import Average, Ensemble, Member
from captioning.encoders.encoder import Encoder
from captioning.encoders.several import SeveralEncoders
from captioning.encoders.standardise import Standardise
from captioning.encoders.text_transform import TextTransform
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.model.vocabularies import check_same
from captioning.text.tokenizer import Tokenizer


def ensemble(
    captioners: Sequence[Captioner], *, weights: Sequence[float] | None = None, average: Average = "probabilities"
) -> Captioner:
    """Make one captioner of several, in evaluation mode. Its weights are theirs, not copies.

    Members whose encoders are the same, with the same weights and transform, share the features of one. Cached features
    of this encoder then serve the ensemble. Else each image is encoded by every different encoder. The search is that
    of the first captioner; `caption` takes another one.

    Args:
        captioners: at least two, of any decoders, whose vocabularies are equal.
        weights: how much each counts, above 0; None for equal weights.
        average: of the members' "probabilities" or "log_probabilities"; see `Ensemble`.

    Raises:
        InputError: the vocabularies differ, the encoders read different images or sentences, or `weights` do not fit.
    """
    if len(captioners) < 2:
        raise InputError(f"an ensemble has at least two members, found {len(captioners)}")
    _check_vocabularies([captioner.tokenizer for captioner in captioners], "captions")
    owners, numbers = _encoders(captioners)
    configs = [captioner.known_config for captioner in captioners]
    encoder, encoder_values = _together([captioners[owner] for owner in owners], [configs[owner] for owner in owners])
    members, plain = zip(*(_member(*args) for args in zip(captioners, configs, numbers, strict=True)), strict=True)
    decoder = Ensemble(members, weights=weights, average=average)
    first = captioners[0]
    config = {
        "encoder": encoder_values,
        "decoder": {
            "_target_": "captioning.decoders.Ensemble",
            "members": list(plain),
            "weights": None if weights is None else [float(weight) for weight in weights],
            "average": average,
        },
        "search": configs[0]["search"],
        "standardise": None,
    }
    return Captioner(
        encoder, decoder, first.tokenizer, transform=first.transform, search=first.search, config=config
    ).eval()


def _check_vocabularies(tokenizers: Sequence[Tokenizer], of: str) -> None:
    for number, other in enumerate(tokenizers[1:], 2):
        check_same(tokenizers[0], other, f"{of} of models 1 and {number}")


def _encoders(captioners: Sequence[Captioner]) -> tuple[list[int], list[int]]:
    """Find the different encoders.

    Returns:
        For each different encoder the captioner that has it, and for each captioner the number of its encoder.
    """
    texts = [captioner.transform for captioner in captioners if isinstance(captioner.transform, TextTransform)]
    if len(texts) == len(captioners):
        _check_vocabularies([transform.tokenizer for transform in texts], "source sentences")
    found: list[dict[str, Any]] = []
    owners: list[int] = []
    numbers = []
    for number, captioner in enumerate(captioners):
        identity = captioner.encoder.identity(captioner.transform)
        grid = identity.pop("grid")
        if identity not in found:
            found.append(identity)
            owners.append(number)
        own = found.index(identity)
        if grid and not captioners[owners[own]].encoder.grid:
            owners[own] = number  # the same network, which returns grid cells too
        numbers.append(own)
    return owners, numbers


def _together(captioners: Sequence[Captioner], configs: Sequence[Mapping[str, Any]]) -> tuple[Encoder, dict[str, Any]]:
    """Make one encoder of different ones; also return its plain values."""
    if len(captioners) == 1:
        return captioners[0].encoder, dict(configs[0]["encoder"])
    texts = isinstance(captioners[0].transform, TextTransform)
    transforms = [] if texts else [captioner.transform.to_dict() for captioner in captioners]
    values = {
        "_target_": "captioning.encoders.SeveralEncoders",
        "encoders": [config["encoder"] for config in configs],
        "transforms": transforms,
    }
    return SeveralEncoders(encoders=[captioner.encoder for captioner in captioners], transforms=transforms), values


def _member(captioner: Captioner, config: Mapping[str, Any], number: int) -> tuple[Member, dict[str, Any]]:
    """Make a member of a captioner; also return its plain values."""
    own: nn.Module = captioner.standardise
    values: dict[str, Any] = {
        "feature_size": captioner.encoder.feature_size,
        "standardise": float(own.deviation) if isinstance(own, Standardise) else None,
        "encoder": number,
    }
    decoder: Decoder[Any] = captioner.decoder
    member = Member(decoder, **values)
    if isinstance(own, Standardise):
        member.standardise.load_state_dict(own.state_dict())
    return member, {"_target_": "captioning.decoders.Member", "decoder": config["decoder"], **values}
