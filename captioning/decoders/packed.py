"""Decoders with packed weights, for searches on a CPU; see `captioning.decoders.packed_layers`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from torch import nn

from captioning.decoders.decoder import Decoder, State
from captioning.decoders.packed_layers import PackedGRU, PackedLinear, PackedLSTM, can_pack
from captioning.decoders.word_table import WordTable, can_look_up
from captioning.recurrent import GRU, LSTM

SMALLEST = 2**14
"""The number of weights from which packing saves more time than a call of the product takes."""

S = TypeVar("S", bound=State)

_PACKED: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: PackedLinear,
    LSTM: PackedLSTM,
    GRU: PackedGRU,
}


def packed(decoder: Decoder[S]) -> Decoder[S] | None:
    """Return a decoder that takes the steps of `decoder` in less time; None where torch cannot pack its weights.

    It shares the parameters of `decoder`, and has a packed copy of large weights in addition, and for recurrent layers
    over words a table (see `captioning.decoders.word_table`). They do not change with the weights. Logits differ by
    rounding.

    Args:
        decoder: a decoder in evaluation mode. Its linear layers, `LSTM` and `GRU` are packed.
    """
    weights = [p for p in decoder.parameters() if p.is_floating_point()]
    if any(p.device.type != "cpu" or not can_pack(p.dtype) for p in weights):
        return None
    quick = _packed(decoder)
    return cast(Decoder[S], WordTable(quick) if can_look_up(quick) else quick)


def _packed(module: nn.Module) -> nn.Module:
    """Replace the layers within a module, in a copy that shares everything else."""
    if isinstance(module, nn.Dropout):
        return nn.Identity()  # as in evaluation mode, without a call of torch
    pack = _PACKED.get(type(module))
    if pack is not None:
        return pack(module) if sum(p.numel() for p in module.parameters()) >= SMALLEST else module
    children = {name: child if child is None else _packed(child) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    replica = copy.copy(module)
    replica.__dict__["_modules"] = children
    return replica
