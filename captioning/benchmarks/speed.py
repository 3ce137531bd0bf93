"""Measure the speed of training steps against their matrix products alone.

Recurrent cells and combinations of cells are measured against torch's fused LSTM. Both sides of a ratio are measured
alternately.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from captioning.benchmarks.floor import Product, fastest
from captioning.benchmarks.timing import compare
from captioning.data.batch import CaptionBatch, collate
from captioning.decoders import MRNN, Decoder, ShowAndTell
from captioning.encoders.features import ImageFeatures
from captioning.objectives import CrossEntropy
from captioning.recurrent import (
    GRU,
    LSTM,
    Bidirectional,
    ChoGRU,
    Elman,
    GravesStack,
    MaxoutLSTM,
    PeepholeLSTM,
    ShowAndTellLSTM,
    Stacked,
)
from captioning.recurrent.layer import RecurrentFactory, SequenceLayer

FEATURE_SIZE, VOCAB_SIZE = 1280, 2541  # EfficientNet-Lite's features, Flickr8k's vocabulary
EMBEDDING, HIDDEN = 512, 512  # Show and Tell
MRNN_SIZES = 128, 256, 512  # embedding, recurrent and multimodal layer


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: the task and model that were measured.
        seconds: the median time of several repetitions.
        floor_seconds: the same for the matrix products alone, each by the fastest path that this machine has.
        ratio: the median of floor time / time over the repetitions; 1 is perfect.
        spread: the interquartile range of these ratios.
        where: the median time of each part, in seconds.
    """

    name: str
    seconds: float
    floor_seconds: float
    ratio: float
    spread: float
    where: dict[str, float]


@dataclass(frozen=True)
class CellRow:
    """The speed of one recurrent cell, or of a combination of LSTMs.

    Attributes:
        cell: its name in conf/recurrent.
        seconds: the median time of several repetitions.
        lstm_seconds: the same for torch's fused LSTM with as many layers and directions.
        ratio: the median of the time relative to the LSTM over the repetitions.
        spread: the interquartile range of these ratios.
    """

    cell: str
    seconds: float
    lstm_seconds: float
    ratio: float
    spread: float


CELLS: dict[str, RecurrentFactory] = {
    "lstm": LSTM,
    "gru": GRU,
    "elman": Elman,
    "show_and_tell_lstm": ShowAndTellLSTM,
    "peephole_lstm": PeepholeLSTM,
    "cho_gru": ChoGRU,
    "maxout_lstm": MaxoutLSTM,
}

STACKS: dict[str, tuple[Callable[[int, int], SequenceLayer], Callable[[int, int], nn.LSTM]]] = {
    "stacked": (partial(Stacked, layer=LSTM, num_layers=2), partial(nn.LSTM, num_layers=2)),
    "bidirectional": (lambda e, d: Bidirectional(e, 2 * d, layer=LSTM), partial(nn.LSTM, bidirectional=True)),
    "graves_stack": (lambda e, d: GravesStack(e, 2 * d, layer=LSTM, num_layers=2), partial(nn.LSTM, num_layers=2)),
}
"""Combinations of two LSTMs of width D, and torch's LSTM of the same widths, which has no skip connections."""


def decoders() -> dict[str, Decoder[Any]]:
    """Build the decoders to measure, with the sizes of their papers and random weights."""
    models: dict[str, Decoder[Any]] = {
        f"show_and_tell {name}": ShowAndTell(
            feature_size=FEATURE_SIZE,
            vocab_size=VOCAB_SIZE,
            recurrent=CELLS[name],
            embedding_size=EMBEDDING,
            hidden_size=HIDDEN,
            head_bias=True,
        )
        for name in ("lstm", "gru", "show_and_tell_lstm")
    }
    e, d, m = MRNN_SIZES
    models["mrnn"] = MRNN(
        feature_size=FEATURE_SIZE,
        vocab_size=VOCAB_SIZE,
        embedding_size=e,
        hidden_size=d,
        multimodal_size=m,
        bias=True,
    )
    return models


def bench_training(*, num_images: int = 16, repeat: int = 7, bf16: bool = False) -> list[Row]:
    """Measure a training step of each decoder: five captions per image, cross-entropy, backward pass, Adam."""
    batch = _batch(num_images)
    return [_training(name, decoder, batch, repeat, bf16) for name, decoder in decoders().items()]


def _training(name: str, decoder: Decoder[Any], batch: CaptionBatch, repeat: int, bf16: bool) -> Row:
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-4, fused=True)
    objective, features = CrossEntropy(), batch.features
    assert features is not None
    spent: dict[str, list[float]] = {"forward": [], "backward": [], "optimizer": []}

    def step() -> None:
        with _timed(spent["forward"]), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(decoder, features, batch)
        with _timed(spent["backward"]):
            loss.backward()  # type: ignore[no-untyped-call]
        with _timed(spent["optimizer"]):
            optimizer.step()
            optimizer.zero_grad()

    floor = fastest(with_gradients(training_products(decoder, batch)), torch.bfloat16 if bf16 else torch.float32)
    timed = compare(step, floor, repeat=repeat)
    where = {name: statistics.median(times[1:]) for name, times in spent.items()}  # the first is a warm-up
    return Row(f"train {name}", timed.seconds, timed.other_seconds, timed.ratio, timed.spread, where)


def bench_recurrent(*, batch_size: int = 128, length: int = 20, repeat: int = 7) -> list[CellRow]:
    """Measure the forward and backward pass of each cell and stack, including the gradient of the inputs.

    All rows have the same length.
    """
    inputs = pack_sequence([torch.randn(length, EMBEDDING) for _ in range(batch_size)])
    inputs.data.requires_grad_()
    pairs = {name: (cell, nn.LSTM) for name, cell in CELLS.items()} | STACKS
    return [_cell(name, layer, lstm, inputs, repeat) for name, (layer, lstm) in pairs.items()]


def _cell(
    name: str,
    layer: Callable[[int, int], SequenceLayer],
    lstm: Callable[[int, int], nn.LSTM],
    inputs: PackedSequence,
    repeat: int,
) -> CellRow:
    def run(module: Any) -> None:
        outputs, _ = module(inputs)
        outputs.data.sum().backward()
        module.zero_grad()
        inputs.data.grad = None

    sizes = EMBEDDING, HIDDEN
    timed = compare(partial(run, lstm(*sizes)), partial(run, layer(*sizes)), repeat=repeat)
    return CellRow(name, timed.other_seconds, timed.seconds, timed.ratio, timed.spread)


def training_products(decoder: Decoder[Any], batch: CaptionBatch) -> list[Product]:
    """List the matrix products of a forward pass. A product over all time steps is listed once."""
    tokens, images = int(batch.lengths.sum()), len(batch.image_ids)
    running = batch.inputs().batch_sizes.tolist()
    if isinstance(decoder, ShowAndTell):
        gates = _gates(decoder)
        image = [(images, FEATURE_SIZE, EMBEDDING), (images, EMBEDDING, gates * HIDDEN)]
        along_time = [(b, HIDDEN, gates * HIDDEN) for b in running]
        shapes = [*image, (tokens, EMBEDDING, gates * HIDDEN), *along_time, (tokens, HIDDEN, VOCAB_SIZE)]
    else:
        e, d, m = MRNN_SIZES
        words = [(tokens, e, d), (tokens, d, m), (tokens, d, m), (tokens, m, VOCAB_SIZE)]
        shapes = [(images, FEATURE_SIZE, m), *words, *((b, d, d) for b in running)]
    return list(starmap(Product, shapes))


def with_gradients(products: Iterable[Product]) -> list[Product]:
    """Add to each product y = xw the two products of the gradients of x and w."""
    return [
        each
        for p in products
        for each in (p, Product(p.rows, p.outputs, p.inputs), Product(p.inputs, p.rows, p.outputs))
    ]


def _gates(decoder: ShowAndTell) -> int:
    return 3 if isinstance(decoder.recurrent, GRU) else 4


def _batch(num_images: int) -> CaptionBatch:
    """Make a batch of captions as long as Flickr8k's: 4 to 25 tokens, 11 on average."""
    random = torch.Generator().manual_seed(0)
    lengths = (11 + 4 * torch.randn(num_images, 5, generator=random)).round().clamp(4, 25).int().tolist()
    captions = [
        [[1, *torch.randint(4, VOCAB_SIZE, (n - 1,), generator=random).tolist(), 2] for n in own] for own in lengths
    ]
    features = ImageFeatures(torch.randn(num_images, FEATURE_SIZE, generator=random))
    return collate(range(num_images), captions, pad=0, features=features)


class _timed:  # noqa: N801 - reads as a statement
    """Add the time of a part to a list."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.times.append(time.perf_counter() - self.start)
