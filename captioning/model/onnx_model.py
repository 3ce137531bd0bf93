"""A captioner whose encoder and decoder ONNX Runtime computes, from the folder that `onnx_export` writes.

    encoder.onnx      pixels -> features, standardised
    start.onnx        features -> state
    step.onnx         tokens, state -> logits, next state
    config.json       names, shapes and dtypes of all tensors, the vocabulary, the transform and the search
    tokenizer.json    the tokenizers library's own format
    SHA256SUMS        the digest of each file

Of a state's tensors, some have a row for each hypothesis of a search; step.onnx returns their next values. The others
have a row for each image, and never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from captioning.decoders.attention import unrolled
from captioning.decoders.decoder import Decoder, State
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError, described, shown
from captioning.files.digests import check_digests
from captioning.json_files import read_typed
from captioning.model.captioner import Captioner
from captioning.model.named_tensors import feature_tensors, features_of
from captioning.search import BeamSearch
from captioning.text.tokenizer import Tokenizer

FORMAT_VERSION = 1
ENCODER, START, STEP, CONFIG, TOKENIZER = "encoder.onnx", "start.onnx", "step.onnx", "config.json", "tokenizer.json"
FEATURES, STATE, NEXT = "features.", "state.", "next."
"""How the names of tensors begin. Without these, they could be the names of the exporter's own values."""
MISSING = "the packages of ONNX are missing: pip install 'captioning[export]'"


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor of a state or of features.

    Attributes:
        name: its name in the files.
        shape: its sizes; the first is "rows" or "images".
        dtype: as torch names it, such as "float32".
    """

    name: str
    shape: list[int | str]
    dtype: str


class SearchSpec(msgspec.Struct, frozen=True):
    """The settings of a `BeamSearch`; greedy search has one beam and no length normalization."""

    beam_size: int
    length_normalization: float
    max_length: int
    allow_unknown: bool


class Config(msgspec.Struct, frozen=True):
    """The content of config.json.

    Attributes:
        format_version: of the folder.
        captioning_version: of the package that wrote it.
        vocabulary: the tokens in the order of their ids.
        special: the ids of the special tokens: "pad", "bos", "eos" and "unk".
        word_level: whether every token is a whole word.
        transform: how an image becomes pixels.
        search: how captions are decoded.
        features: what encoder.onnx returns and start.onnx reads.
        state: what start.onnx returns and step.onnx reads.
    """

    format_version: int
    captioning_version: str
    vocabulary: list[str]
    special: dict[str, int]
    word_level: bool
    transform: dict[str, Any]
    search: SearchSpec
    features: list[TensorSpec]
    state: list[TensorSpec]


def load_onnx(folder: str | Path) -> Captioner:
    """Load an exported captioner. Its searches, options and captions are those of any `Captioner`.

    It has no weights that torch could train or move: it stays on the CPU, and cannot be saved.

    Raises:
        InputError: the folder holds no exported model, or a file is missing or damaged. Or the packages of ONNX are
            missing.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / STEP).is_file():
        raise InputError(
            f"{shown(folder, 300)} holds no {CONFIG} and {STEP}; expected a folder of `captioning export MODEL OUT`"
        )
    if not check_digests(folder, (ENCODER, START, STEP, CONFIG, TOKENIZER)):
        raise InputError(f"{shown(folder, 300)} has no SHA256SUMS; copy the folder again")
    config = read_typed(folder / CONFIG, Config)
    if config.format_version != FORMAT_VERSION:
        raise InputError(
            f"{shown(folder, 300)} has format {config.format_version} and this version reads format {FORMAT_VERSION}; "
            "export the model again"
        )
    tokenizer = Tokenizer.from_json(
        (folder / TOKENIZER).read_text(encoding="utf-8"), source=shown(folder / TOKENIZER, 300)
    )
    encoder = OnnxEncoder(
        _Program(folder / ENCODER), config.features, transform=ImageTransform.from_dict(config.transform)
    )
    decoder = OnnxDecoder(_Program(folder / START), _Program(folder / STEP), config.state, vocab_size=len(tokenizer))
    search = BeamSearch(**msgspec.structs.asdict(config.search))
    return Captioner(encoder, decoder, tokenizer, search=search).eval()


class OnnxEncoder(Encoder):
    """An encoder that ONNX Runtime computes. Its features are standardised."""

    def __init__(self, program: _Program, outputs: Sequence[TensorSpec], *, transform: ImageTransform) -> None:
        self.names = [tensor.name.removeprefix(FEATURES) for tensor in outputs]
        super().__init__("onnx", grid="grid" in self.names, transform=transform)
        self.program = program
        self.feature_size = int(outputs[self.names.index("pooled")].shape[-1])

    def forward(self, images: Tensor) -> ImageFeatures:
        """See `Encoder.forward`."""
        return features_of(dict(zip(self.names, self.program([images]), strict=True)))


@dataclass(frozen=True)
class OnnxState(State):
    """The state of an exported decoder.

    Attributes:
        own: the tensors with a row for each hypothesis.
        shared: the tensors with a row for each image.
    """

    own: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change the tensors that have rows."""
        return replace(self, own=tuple(map(change, self.own)))


class _Logits(NamedTuple):
    logits: Tensor


class OnnxDecoder(Decoder[OnnxState]):
    """A decoder that ONNX Runtime computes.

    Args:
        start: the program of start.onnx.
        step: the program of step.onnx.
        state: the tensors of the state, in the order of both programs.
        vocab_size: V.
    """

    def __init__(self, start: _Program, step: _Program, state: Sequence[TensorSpec], *, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.head = vocab_size, nn.Identity()
        self.first, self.next = start, step
        self.has_rows = [tensor.shape[0] == "rows" for tensor in state]

    def start(self, features: ImageFeatures) -> OnnxState:
        """See `Decoder.start`."""
        found = list(zip(self.first(feature_tensors(features).values()), self.has_rows, strict=True))
        return OnnxState(tuple(x for x, own in found if own), tuple(x for x, own in found if not own))

    def step(self, tokens: Tensor, state: OnnxState) -> tuple[Tensor, OnnxState]:
        """See `Decoder.step`."""
        own, shared = iter(state.own), iter(state.shared)
        logits, *following = self.next([tokens, *(next(own if rows else shared) for rows in self.has_rows)])
        return logits, replace(state, own=tuple(following))

    def hidden(self, features: ImageFeatures, inputs: PackedSequence, image_index: Tensor) -> Tensor:
        """See `Decoder.hidden`. Return the logits, step by step; `head` changes nothing."""

        def cell(tokens: Tensor, state: OnnxState) -> tuple[_Logits, OnnxState]:
            logits, state = self.step(tokens, state)
            return _Logits(logits), state

        return unrolled(cell, inputs, self.start(features).rows(image_index)).logits


class _Program:
    """A file of ONNX, as a function of tensors on the CPU.

    It uses as many threads as torch. Several threads may call it at once.

    Raises:
        InputError: ONNX Runtime is missing or does not read the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise InputError(MISSING) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes that ONNX Runtime does not name
            raise InputError(f"{shown(path, 300)} is not read by ONNX Runtime: {described(error)}") from error
        self.inputs = [given.name for given in self.session.get_inputs()]

    def __call__(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Compute the outputs of tensors, in the order of the file."""
        arrays = (tensor.detach().contiguous().numpy() for tensor in tensors)
        outputs = self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        return [torch.from_numpy(output) for output in outputs]
