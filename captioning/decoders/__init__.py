"""Features and tokens to scores: one file a paper, all with the Decoder protocol."""

from captioning.decoders.decoder import Decoder, State
from captioning.decoders.fc import FC
from captioning.decoders.init_inject import InitInject
from captioning.decoders.language_model import LanguageModel
from captioning.decoders.merge import Merge
from captioning.decoders.mrnn import MRNN
from captioning.decoders.neuraltalk import NeuralTalk
from captioning.decoders.par_inject import ParInject
from captioning.decoders.pre_inject import PreInject
from captioning.decoders.show_and_tell import ShowAndTell

__all__ = [
    "FC",
    "MRNN",
    "Decoder",
    "InitInject",
    "LanguageModel",
    "Merge",
    "NeuralTalk",
    "ParInject",
    "PreInject",
    "ShowAndTell",
    "State",
]
