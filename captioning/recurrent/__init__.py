"""Recurrent layers: the interface of torch.nn.LSTM over packed sequences, plus single steps."""

from captioning.recurrent.bidirectional import Bidirectional
from captioning.recurrent.cho_gru import ChoGRU
from captioning.recurrent.elman import Elman
from captioning.recurrent.graves_stack import GravesStack
from captioning.recurrent.gru import GRU
from captioning.recurrent.layer import RecurrentLayer, SequenceLayer, unroll
from captioning.recurrent.lstm import LSTM
from captioning.recurrent.maxout_lstm import MaxoutLSTM
from captioning.recurrent.peephole_lstm import PeepholeLSTM
from captioning.recurrent.show_and_tell_lstm import ShowAndTellLSTM
from captioning.recurrent.stacked import Stacked

__all__ = [
    "GRU",
    "LSTM",
    "Bidirectional",
    "ChoGRU",
    "Elman",
    "GravesStack",
    "MaxoutLSTM",
    "PeepholeLSTM",
    "RecurrentLayer",
    "SequenceLayer",
    "ShowAndTellLSTM",
    "Stacked",
    "unroll",
]
