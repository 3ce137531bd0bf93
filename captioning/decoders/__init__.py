"""Features and tokens to scores: one file a paper, all with the Decoder protocol."""

from captioning.decoders.att2in import Att2in
from captioning.decoders.decoder import Attended, AttentiveDecoder, Decoder, State
from captioning.decoders.mrnn import MRNN
from captioning.decoders.obj2text import Obj2Text
from captioning.decoders.show_and_tell import ShowAndTell
from captioning.decoders.show_attend_and_tell import Hard, ShowAttendAndTell, Soft
from captioning.decoders.up_down import UpDown

__all__ = [
    "MRNN",
    "Att2in",
    "Attended",
    "AttentiveDecoder",
    "Decoder",
    "Hard",
    "Obj2Text",
    "ShowAndTell",
    "ShowAttendAndTell",
    "Soft",
    "State",
    "UpDown",
]
