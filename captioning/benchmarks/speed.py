"""Speed of training steps and of beam search, beside the bare matrix products of the same shapes in the same run.

And of each recurrent cell, and of cells put together, beside torch's fused LSTM.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

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
from captioning.search import BeamSearch
from captioning.text.tokenizer import SpecialTokens

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
FEATURE_SIZE, VOCAB_SIZE = 1280, 2541  # EfficientNet-Lite's features, Flickr8k's vocabulary
EMBEDDING, HIDDEN = 512, 512  # Show and Tell
MRNN_SIZES = 128, 256, 512  # embedding, recurrent and multimodal layer

Product = tuple[int, int, int]
"""Rows, inputs and outputs of one matrix product."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: what was measured.
        seconds: the best of several repetitions.
        products_seconds: the same for the bare products.
        where: seconds of its parts.
    """

    name: str
    seconds: float
    products_seconds: float
    where: dict[str, float]

    @property
    def ratio(self) -> float:
        """How many times the bare products' time it took."""
        return self.seconds / self.products_seconds


@dataclass(frozen=True)
class CellRow:
    """One cell's speed, or that of LSTMs put together.

    Attributes:
        cell: its name in conf/recurrent.
        seconds: the median of several repetitions.
        lstm_seconds: the same for torch's fused LSTM of as many layers and directions, in turns with the cell.
    """

    cell: str
    seconds: float
    lstm_seconds: float

    @property
    def ratio(self) -> float:
        """How many times the LSTM's time it took."""
        return self.seconds / self.lstm_seconds


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
"""Two LSTMs of width D put together, beside torch's own two, which have no connections past a layer."""


def decoders() -> dict[str, Decoder[Any]]:
    """Every model that is measured, with its paper's sizes and random weights."""
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
    """A step of training: five captions an image, cross-entropy, backward, Adam."""
    batch = _batch(num_images)
    return [_training(name, decoder, batch, repeat, bf16) for name, decoder in decoders().items()]


def _training(name: str, decoder: Decoder[Any], batch: CaptionBatch, repeat: int, bf16: bool) -> Row:
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-4, fused=True)
    objective, features = CrossEntropy(), batch.features
    assert features is not None
    spent: dict[str, float] = {}

    def step() -> None:
        with _timed(spent, "forward"), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = objective(decoder, features, batch)
        with _timed(spent, "backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with _timed(spent, "optimizer"):
            optimizer.step()
            optimizer.zero_grad()

    products = training_products(decoder, batch)
    dtype = torch.bfloat16 if bf16 else torch.float32
    return Row(f"train {name}", _best(step, repeat), _best(_forward_backward(products, dtype), repeat), spent)


def bench_beam(*, num_images: int = 100, beam_size: int = 5, repeat: int = 3) -> list[Row]:
    """Beam search over cached features until the longest length, 12 tokens."""
    features = ImageFeatures(torch.randn(num_images, FEATURE_SIZE))
    search = BeamSearch(beam_size=beam_size, max_length=12)
    return [_beam(name, decoder.eval(), search, features, repeat) for name, decoder in decoders().items()]


def _beam(name: str, decoder: Decoder[Any], search: BeamSearch, features: ImageFeatures, repeat: int) -> Row:
    rows: list[int] = []
    spent: dict[str, float] = {}
    plain = decoder.step

    def counted(tokens: Tensor, state: Any) -> Any:
        rows.append(len(tokens))
        with _timed(spent, "decoder steps"):
            return plain(tokens, state)

    decoder.step = counted  # type: ignore[method-assign]
    search(decoder, features, SPECIAL)
    steps = list(rows)
    seconds = _best(lambda: search(decoder, features, SPECIAL), repeat)
    products = [product for b in steps for product in step_products(decoder, b)]
    return Row(f"beam {name}", seconds, _best(_forward(products), repeat), spent)


def bench_recurrent(*, batch_size: int = 128, length: int = 20, repeat: int = 7) -> list[CellRow]:
    """Forward and backward of each cell and stack over rows of the same length, with the gradient of the inputs."""
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
    both: list[Any] = [layer(EMBEDDING, HIDDEN), lstm(EMBEDDING, HIDDEN)]
    times: dict[nn.Module, list[float]] = {module: [] for module in both}
    for _ in range(1 + repeat):
        for module, own in times.items():
            start = time.perf_counter()
            outputs, _ = module(inputs)
            outputs.data.sum().backward()
            own.append(time.perf_counter() - start)
            module.zero_grad()
            inputs.data.grad = None
    return CellRow(name, *(statistics.median(own[1:]) for own in times.values()))  # without the first, to warm up


def training_products(decoder: Decoder[Any], batch: CaptionBatch) -> list[Product]:
    """Every matrix product of a forward pass; those that act on all steps at once as one."""
    tokens, images = int(batch.lengths.sum()), len(batch.image_ids)
    running = batch.inputs().batch_sizes.tolist()
    if isinstance(decoder, ShowAndTell):
        gates = _gates(decoder)
        image = [(images, FEATURE_SIZE, EMBEDDING), (images, EMBEDDING, gates * HIDDEN)]
        along_time = [(b, HIDDEN, gates * HIDDEN) for b in running]
        return [*image, (tokens, EMBEDDING, gates * HIDDEN), *along_time, (tokens, HIDDEN, VOCAB_SIZE)]
    e, d, m = MRNN_SIZES
    words = [(tokens, e, d), (tokens, d, m), (tokens, d, m), (tokens, m, VOCAB_SIZE)]
    return [(images, FEATURE_SIZE, m), *words, *((b, d, d) for b in running)]


def step_products(decoder: Decoder[Any], rows: int) -> list[Product]:
    """Every matrix product of one decoding step."""
    if isinstance(decoder, ShowAndTell):
        gates = _gates(decoder)
        return [(rows, EMBEDDING, gates * HIDDEN), (rows, HIDDEN, gates * HIDDEN), (rows, HIDDEN, VOCAB_SIZE)]
    e, d, m = MRNN_SIZES
    return [(rows, e, d), (rows, d, d), (rows, d, m), (rows, d, m), (rows, m, VOCAB_SIZE)]


def _gates(decoder: ShowAndTell) -> int:
    return 3 if isinstance(decoder.recurrent, GRU) else 4


def _forward(products: Sequence[Product]) -> Callable[[], None]:
    shapes = {p: (torch.randn(p[0], p[1]), torch.randn(p[1], p[2])) for p in set(products)}

    @torch.inference_mode()
    def run() -> None:
        for product in products:
            x, w = shapes[product]
            x @ w

    return run


def _forward_backward(products: Sequence[Product], dtype: torch.dtype) -> Callable[[], None]:
    """Y = xw, then the gradients of x and w: three products of the same size."""
    shapes = {
        (b, i, o): (torch.randn(b, i).to(dtype), torch.randn(i, o).to(dtype), torch.randn(b, o).to(dtype))
        for b, i, o in set(products)
    }

    @torch.inference_mode()
    def run() -> None:
        for product in products:
            x, w, y = shapes[product]
            x @ w, y @ w.t(), x.t() @ y

    return run


def _batch(num_images: int) -> CaptionBatch:
    """Captions as long as Flickr8k's: 11 tokens on average, 4 to 25."""
    random = torch.Generator().manual_seed(0)
    lengths = (11 + 4 * torch.randn(num_images, 5, generator=random)).round().clamp(4, 25).int().tolist()
    captions = [
        [[1, *torch.randint(4, VOCAB_SIZE, (n - 1,), generator=random).tolist(), 2] for n in own] for own in lengths
    ]
    features = ImageFeatures(torch.randn(num_images, FEATURE_SIZE, generator=random))
    return collate(range(num_images), captions, pad=0, features=features)


def _best(run: Callable[[], object], repeat: int) -> float:
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


class _timed:  # noqa: N801 - reads as a statement
    """Keep the least seconds that a part has taken, under its name."""

    def __init__(self, spent: dict[str, float], name: str) -> None:
        self.spent, self.name = spent, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self.start
        self.spent[self.name] = min(seconds, self.spent.get(self.name, seconds))
