"""Measure the speed of recurrent cells and of combinations of cells against torch's fused LSTM.

Both sides of a ratio are measured alternately.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from captioning.benchmarks.timing import compare
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

EMBEDDING, HIDDEN = 512, 512


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
