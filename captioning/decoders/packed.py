"""Decoders with packed weights, for searches on a CPU; see `captioning.decoders.packed_layers`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn

from captioning.decoders.decoder import Decoder, State
from captioning.decoders.packed_layers import PackedGRU, PackedLinear, PackedLSTM, can_pack
from captioning.recurrent import GRU, LSTM

SMALLEST = 2**14
"""The number of weights from which packing saves more time than a call of the product takes."""

S = TypeVar("S", bound=State)
_Version = tuple[tuple[int, int, torch.dtype], ...]


_PACKED: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: PackedLinear,
    LSTM: PackedLSTM,
    GRU: PackedGRU,
}
_made: WeakKeyDictionary[nn.Module, tuple[_Version, Decoder[Any]]] = WeakKeyDictionary()


def packed(decoder: Decoder[S]) -> Decoder[S]:
    """Return a decoder that takes the steps of `decoder` in less time, or `decoder` itself.

    It shares the parameters of `decoder`, and has a packed copy of large weights in addition. It is made once, and
    again if weights have changed. Logits differ by rounding. The decoder itself is returned in training mode, where
    gradients are recorded, under autocast, on devices other than the CPU, and where torch cannot pack its dtype.

    Args:
        decoder: a decoder. Its linear layers, `LSTM` and `GRU` are packed.
    """
    if decoder.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return decoder
    weights = [p for p in decoder.parameters() if p.is_floating_point()]
    if any(p.device.type != "cpu" or p.is_inference() or not can_pack(p.dtype) for p in weights):
        return decoder
    version = tuple((p.data_ptr(), p._version, p.dtype) for p in weights)
    known = _made.get(decoder)
    if known is not None and known[0] == version:
        return known[1]
    made = cast(Decoder[S], _packed(decoder))
    if made is not decoder:  # else the dictionary would keep it for ever
        _made[decoder] = version, made
    return made


def _packed(module: nn.Module) -> nn.Module:
    """Replace the layers within a module, in a copy that shares everything else."""
    pack = _PACKED.get(type(module))
    if pack is not None:
        return pack(module) if sum(p.numel() for p in module.parameters()) >= SMALLEST else module
    children = {name: child if child is None else _packed(child) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    replica = copy.copy(module)
    replica.__dict__["_modules"] = children
    return replica
