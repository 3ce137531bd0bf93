"""Weights in 8 bits, for files of a quarter of the size.

Each row w of a matrix, or output channel of a convolution, is stored as whole numbers and one scale:

    s = max |w| / 127,    q = round(w / s),    w ≈ s q

so a weight moves by at most s / 2. Vectors, such as biases and statistics, are stored as they are. A model computes
with the weights s q in float32: the file is small, and the model is not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from captioning.errors import InputError

SCALE = ":scale"
"""Ends the name of the scales of the weight whose name comes before. No name of a weight has a colon."""


def quantised(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn each float tensor of two or more dimensions into int8, (R, ..), with its scales (R), float32."""
    stored: dict[str, Tensor] = {}
    for name, w in weights.items():
        if not w.is_floating_point() or w.ndim < 2 or not w.numel():
            stored[name] = w
            continue
        s = w.detach().float().flatten(1).abs().amax(1) / 127
        q = (w.detach().float() / _as_rows(s, w)).nan_to_num(0).round()  # a row of zeros has the scale 0
        stored[name], stored[name + SCALE] = q.to(torch.int8), s
    return stored


def dequantised(stored: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """Compute the weights that `quantised` has stored; weights without a scale are returned as they are.

    Args:
        stored: weights by name, and the scales of some.
        source: where they come from, for messages.

    Raises:
        InputError: scales do not fit their weight, or belong to none.
    """
    weights = {name: value for name, value in stored.items() if not name.endswith(SCALE)}
    for name in stored.keys() - weights.keys():
        s, q = stored[name], weights.get(name.removesuffix(SCALE))
        if q is None or q.dtype != torch.int8 or q.ndim < 2 or s.dtype != torch.float32 or s.shape != q.shape[:1]:
            raise InputError(f"{source}: {name[:200]} fits no int8 weight; the file is damaged: copy the bundle again")
        weights[name.removesuffix(SCALE)] = q.float() * _as_rows(s, q)
    return weights


def _as_rows(s: Tensor, w: Tensor) -> Tensor:
    return s.view(-1, *[1] * (w.ndim - 1))
