"""Decoders, which turn features and tokens into logits: one file per paper, all with the `Decoder` interface."""

from captioning.decoders.att2in import Att2in
from captioning.decoders.bahdanau import Bahdanau
from captioning.decoders.cho import Cho
from captioning.decoders.contrast import AgainstImages, AgainstLanguageModel, WithoutImage
from captioning.decoders.decoder import Attended, AttentiveDecoder, Decoder, State
from captioning.decoders.distractors import Distractors
from captioning.decoders.ensemble import Ensemble, Member
from captioning.decoders.fc import FC
from captioning.decoders.init_inject import InitInject
from captioning.decoders.language_model import LanguageModel
from captioning.decoders.lstm_a import LstmA
from captioning.decoders.merge import Merge
from captioning.decoders.mrnn import MRNN
from captioning.decoders.neuraltalk import NeuralTalk
from captioning.decoders.obj2text import Obj2Text
from captioning.decoders.par_inject import ParInject
from captioning.decoders.pre_inject import PreInject
from captioning.decoders.show_and_tell import ShowAndTell
from captioning.decoders.show_attend_and_tell import Hard, ShowAttendAndTell, Soft
from captioning.decoders.sutskever import Sutskever
from captioning.decoders.up_down import UpDown
from captioning.decoders.visual_concepts import VisualConcepts

__all__ = [
    "FC",
    "MRNN",
    "AgainstImages",
    "AgainstLanguageModel",
    "Att2in",
    "Attended",
    "AttentiveDecoder",
    "Bahdanau",
    "Cho",
    "Decoder",
    "Distractors",
    "Ensemble",
    "Hard",
    "InitInject",
    "LanguageModel",
    "LstmA",
    "Member",
    "Merge",
    "NeuralTalk",
    "Obj2Text",
    "ParInject",
    "PreInject",
    "ShowAndTell",
    "ShowAttendAndTell",
    "Soft",
    "State",
    "Sutskever",
    "UpDown",
    "VisualConcepts",
    "WithoutImage",
]
