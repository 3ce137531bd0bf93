"""The comparison of a decoder with its paper's equations, one caption at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import unpack_sequence
from torch.testing import assert_close

from captioning.encoders.features import ImageFeatures

Literal = Callable[[dict[str, Tensor], Any, list[int]], list[Tensor]]
"""Maps weights by name, what is read of one image, and a caption's input tokens to the logits of each step."""


def double(features: ImageFeatures) -> ImageFeatures:
    """Copy the features in float64, with gradients."""

    def copy(x: Tensor) -> Tensor:
        return x.to(torch.float64, copy=True).requires_grad_()

    grid = None if features.grid is None else copy(features.grid)
    final = None if features.final is None else tuple(map(copy, features.final))
    objects = None if features.objects is None else replace(features.objects, boxes=copy(features.objects.boxes))
    return replace(features, pooled=copy(features.pooled), grid=grid, objects=objects, final=final)


def gradients(features: ImageFeatures) -> dict[str, Tensor | None]:
    """Return the gradients of all that `double` copies; None where nothing was read."""
    grid = None if features.grid is None else features.grid.grad
    boxes = None if features.objects is None else features.objects.boxes.grad
    final = {f"final {i}": s.grad for i, s in enumerate(features.final or ())}
    return {"pooled": features.pooled.grad, "grid": grid, "boxes": boxes, **final}


def pooled(one: ImageFeatures) -> Tensor:
    """Return the pooled feature of one image, (F)."""
    return one.pooled[0]


@pytest.fixture
def assert_is_the_equations(features, batch) -> Callable[..., None]:
    """Compare a decoder in float64 with literal equations: logits, and the gradients of weights and features."""

    def check(
        model: Any,
        literal: Literal,
        see: Callable[[ImageFeatures], Any] = pooled,
        features: ImageFeatures = features,
    ) -> None:
        torch.manual_seed(0)
        model = model.double()
        for weight in model.parameters():
            nn.init.uniform_(weight, -0.7, 0.7)
        seen, literally_seen = double(features), double(features)
        ours = dict(model.named_parameters())
        plain = {name: weight.detach().clone().requires_grad_() for name, weight in ours.items()}

        packed = batch.inputs()
        logits = model(seen, packed, batch.image_index)
        got = torch.cat(unpack_sequence(packed._replace(data=logits)))
        expected = []
        for row, length in enumerate(batch.lengths.tolist()):
            one = see(literally_seen.rows(batch.image_index[row : row + 1]))
            expected += literal(plain, one, batch.tokens[row, :length].tolist())
        assert_close(got, torch.stack(expected))

        towards = torch.randn_like(got)
        (got * towards).sum().backward()
        (torch.stack(expected) * towards).sum().backward()
        for name, weight in plain.items():
            assert weight.grad is not None, f"{name} is in no equation"
            assert weight.grad.any(), name
            assert_close(ours[name].grad, weight.grad, msg=lambda text, name=name: f"{name}: {text}")
        assert_close(gradients(seen), gradients(literally_seen))

    return check


@pytest.fixture
def gru() -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    """Cho et al. 2014, equations 5 to 8, with biases; D = 19."""

    def literal(weights: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
        w_r, w_z, w = weights["recurrent.w"].split(19)
        u_r, u_z = weights["recurrent.u_rz"].split(19)
        b_r, b_z, b = weights["recurrent.b"].split(19)
        r, z = torch.sigmoid(w_r @ x + u_r @ h + b_r), torch.sigmoid(w_z @ x + u_z @ h + b_z)
        return z * h + (1 - z) * torch.tanh(w @ x + weights["recurrent.u"] @ (r * h) + b)

    return literal


@pytest.fixture
def acts_only_in_training(features, batch) -> Callable[[nn.Module], bool]:
    """Check that two passes differ in training and are equal in evaluation."""

    def check(model: Any) -> bool:
        torch.manual_seed(0)

        def differ() -> bool:
            once, again = (model(features, batch.inputs(), batch.image_index) for _ in range(2))
            return not once.equal(again)

        return model.train() and differ() and not (model.eval() and differ())

    return check


@pytest.fixture
def dropped(features, batch) -> Callable[[nn.Module, nn.Module], list[tuple[int, ...]]]:
    """Return the shapes of the inputs of a decoder's dropout layers in one pass, 17 tokens of 3 images."""

    def record(model: Any, dropout: nn.Module) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        with dropout.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape))):
            model(features, batch.inputs(), batch.image_index)
        return shapes

    return record
