"""Measure the speed of training steps and beam search against the bare matrix products of the same shapes.

Recurrent cells and combinations of cells are measured against torch's fused LSTM. Both sides of a ratio are measured in
the same run.
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
"""The rows, inputs and outputs of one matrix product."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: the task and model that were measured.
        seconds: the shortest time of several repetitions.
        products_seconds: the same for the bare matrix products.
        where: the shortest time of each part, in seconds.
    """

    name: str
    seconds: float
    products_seconds: float
    where: dict[str, float]

    @property
    def ratio(self) -> float:
        """The time relative to the bare matrix products."""
        return self.seconds / self.products_seconds


@dataclass(frozen=True)
class CellRow:
    """The speed of one recurrent cell, or of a combination of LSTMs.

    Attributes:
        cell: its name in conf/recurrent.
        seconds: the median time of several repetitions.
        lstm_seconds: the same for torch's fused LSTM with as many layers and directions, measured alternately.
    """

    cell: str
    seconds: float
    lstm_seconds: float

    @property
    def ratio(self) -> float:
        """The time relative to the LSTM."""
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
    """Measure beam search of each decoder over cached features, up to 12 tokens."""
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
    return CellRow(name, *(statistics.median(own[1:]) for own in times.values()))  # the first is a warm-up


def training_products(decoder: Decoder[Any], batch: CaptionBatch) -> list[Product]:
    """List the matrix products of a forward pass. A product over all time steps is listed once."""
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
    """List the matrix products of one decoding step."""
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
    """Build a function of y = xw and the gradients of x and w, three products of the same size."""
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
    """Make a batch of captions as long as Flickr8k's: 4 to 25 tokens, 11 on average."""
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
    """Time a part, and keep its shortest time under its name."""

    def __init__(self, spent: dict[str, float], name: str) -> None:
        self.spent, self.name = spent, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self.start
        self.spent[self.name] = min(seconds, self.spent.get(self.name, seconds))
