"""Layers whose weights lie in memory in the order in which the processor multiplies them.

A product x Wᵀ rearranges W before it multiplies. If W was rearranged once before ("packed"), many products by it take
less time. The bias is added within the product, and not in a pass of its own over the result.

torch has packed products, those of oneDNN that its compiler uses, but under no public name. `can_pack` tries them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.recurrence import rows_first, step
from captioning.recurrent.gru import GRU
from captioning.recurrent.layer import Hidden, unroll
from captioning.recurrent.lstm import LSTM


class Product:
    """Computes y = x Wᵀ + b without gradients.

    It holds a copy of W, so it does not follow later changes of the weights.

    Args:
        weight: W, (outputs, inputs), on the CPU, of a dtype that `can_pack`.
        bias: b, (outputs), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """Map (.., inputs) to (.., outputs)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return y


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this torch, on this processor, has packed products of a dtype that are right."""
    x, weight, bias = (torch.linspace(-1, 1, n).to(dtype) for n in (3 * 64, 32 * 64, 32))
    x, weight = x.view(3, 64), weight.view(32, 64)
    try:
        found = Product(weight, bias)(x)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    wanted = F.linear(x.double(), weight.double(), bias.double())
    return torch.allclose(found.double(), wanted, rtol=4 * torch.finfo(dtype).eps, atol=64 * torch.finfo(dtype).eps)


class PackedLinear(nn.Module):
    """A linear layer with packed weights, and the parameters of the other one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.product = Product(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (.., in_features) to (.., out_features)."""
        return self.product(x)


class PackedLayer(nn.Module, ABC):
    """A recurrent layer whose steps use packed products.

    Args:
        layer: the layer, in evaluation mode.

    Attributes:
        products: of each layer's inputs, and of its state.
    """

    products: Sequence[tuple[Product, Product]]

    def __init__(self, layer: LSTM | GRU) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = layer.input_size, layer.hidden_size, layer.num_layers
        self.layer = layer

    def initial(self, batch_size: int, like: Tensor) -> Hidden:
        """See `SequenceLayer`."""
        return self.layer.initial(batch_size, like)

    def forward(self, inputs: PackedSequence, state: Hidden | None = None) -> tuple[PackedSequence, Hidden]:
        """See `SequenceLayer`."""
        if state is None:
            state = self.initial(int(inputs.batch_sizes[0]), like=inputs.data)
        outputs, final = unroll(lambda x, s: step(self, x, s), inputs, rows_first(state))
        return outputs, rows_first(final)

    def step(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """See `RecurrentLayer`."""
        return self.advance(self.project(inputs), state or self.initial(len(inputs), like=inputs))

    def project(self, inputs: Tensor) -> Tensor:
        """Compute what the lowest layer's gates read of the inputs alone, W x + b: (B, E) to (B, G)."""
        return self.products[0][0](inputs)

    @abstractmethod
    def advance(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        """Take the step of inputs that are projected already, (B, G)."""


class PackedLSTM(PackedLayer):
    """An LSTM whose single steps use packed products."""

    def __init__(self, layer: LSTM) -> None:
        super().__init__(layer)
        self.products = [(Product(w, b_w + b_u), Product(u, None)) for w, u, b_w, b_u in layer.fused.all_weights]

    def advance(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        """See `PackedLayer`; G = 4D."""
        x, layers = projected, list[Hidden]()
        for (of_input, of_state), h, c in zip(self.products, *state, strict=True):
            gates = of_state(h).add_(of_input(x) if layers else projected)
            i, f, g, o = gates.chunk(4, 1)
            c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
            x = o.sigmoid() * c.tanh()
            layers.append((x, c))
        return x, stacked(layers)


class PackedGRU(PackedLayer):
    """A GRU whose single steps use packed products."""

    def __init__(self, layer: GRU) -> None:
        super().__init__(layer)
        self.products = [(Product(w, b_w), Product(u, b_u)) for w, u, b_w, b_u in layer.fused.all_weights]

    def advance(self, projected: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        """See `PackedLayer`; G = 3D."""
        x, layers = projected, list[Hidden]()
        for (of_input, of_state), h in zip(self.products, *state, strict=True):
            r, z, n = (of_input(x) if layers else projected).chunk(3, 1)
            r_h, z_h, n_h = of_state(h).chunk(3, 1)
            z = (z + z_h).sigmoid()
            n = torch.addcmul(n, (r + r_h).sigmoid(), n_h).tanh()
            x = n + z * (h - n)
            layers.append((x,))
        return x, stacked(layers)


def stacked(layers: Sequence[Hidden]) -> Hidden:
    """Turn the states of L layers, (B, D) each, into one of (L, B, D)."""
    if len(layers) == 1:
        return tuple(s[None] for s in layers[0])  # without a copy
    return tuple(torch.stack(s) for s in zip(*layers, strict=True))
