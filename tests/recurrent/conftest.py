"""The comparison of a cell with its equations, one row and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, unpack_sequence
from torch.testing import assert_close

LENGTHS = [7, 5, 3, 2]

Literal = Callable[..., tuple[Tensor, ...]]
"""Maps weights by name, and the input and state vectors of one row, to its next state, the output first."""


@pytest.fixture
def assert_is_the_equations() -> Callable[[nn.Module, Literal], None]:
    """Compare a float64 layer with a literal step: outputs, last states, and every gradient."""

    def check(layer: Any, literal: Literal) -> None:
        random = torch.Generator().manual_seed(2)
        layer = layer.double()
        for weight in layer.parameters():
            nn.init.uniform_(weight, -0.7, 0.7, generator=random)
        x = torch.randn(len(LENGTHS), max(LENGTHS), layer.input_size, generator=random, dtype=torch.float64)
        state = [
            torch.randn(s.shape, generator=random, dtype=torch.float64) for s in layer.initial(len(LENGTHS), like=x)
        ]
        leaves = {**dict(layer.named_parameters()), "x": x, **{f"state {i}": s for i, s in enumerate(state)}}
        ours, plain = ({k: v.detach().clone().requires_grad_() for k, v in leaves.items()} for _ in range(2))

        packed = pack_padded_sequence(ours["x"], torch.tensor(LENGTHS), True)
        start = tuple(ours[f"state {i}"] for i in range(len(state)))
        outputs, last = torch.func.functional_call(
            layer, {k: ours[k] for k, _ in layer.named_parameters()}, (packed, start)
        )
        got = [torch.cat(unpack_sequence(outputs)), *(s[0] for s in last)]

        hidden, ends = [], []
        for row, length in enumerate(LENGTHS):
            own = tuple(plain[f"state {i}"][0, row] for i in range(len(state)))
            for t in range(length):
                own = literal(plain, plain["x"][row, t], *own)
                hidden.append(own[0])
            ends.append(own)
        expected = [torch.stack(hidden), *(torch.stack(s) for s in zip(*ends, strict=True))]
        assert_close(got, expected)

        towards = [torch.randn(e.shape, generator=random, dtype=torch.float64) for e in expected]
        for results in (got, expected):
            sum((r * t).sum() for r, t in zip(results, towards, strict=True)).backward()
        for name in leaves:
            assert ours[name].grad.any(), name
            assert_close(ours[name].grad, plain[name].grad, msg=lambda text, name=name: f"{name}: {text}")

    return check
