"""Export a captioner to ONNX, for other programs than Python; `onnx_model` describes the files and reads them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from captioning import __version__
from captioning.decoders.decoder import Decoder, State
from captioning.errors import InputError, described, shown
from captioning.files.atomic import new_folder, write_json, write_text
from captioning.files.digests import write_digests
from captioning.model.captioner import Captioner
from captioning.model.named_tensors import feature_tensors, features_of, state_of, state_tensors, tensors_with_rows
from captioning.model.onnx_model import (
    CONFIG,
    ENCODER,
    FEATURES,
    FORMAT_VERSION,
    MISSING,
    NEXT,
    START,
    STATE,
    STEP,
    TOKENIZER,
    Config,
    SearchSpec,
    TensorSpec,
    load_onnx,
)
from captioning.search import BeamSearch, GreedySearch, Search

OPSET = 18
"""The version of ONNX's operators: that of torch's exporter, which browsers read too."""
TOLERANCE = 1e-3
"""How far the exported model's logits may be from torch's. Rounding changes them by about 1e-5."""
_IMAGES, _ROWS = 2, 4  # of the tensors with which the programs are traced; 0 and 1 would be taken for constants


def export_onnx(captioner: Captioner, folder: str | Path, *, search: Search | None = None) -> Path:
    """Write a captioner as ONNX. The folder appears whole or not at all.

    Numbers of images and of rows can be any. The files are compared with the model before the folder appears.

    Args:
        captioner: a model of images.
        folder: the new folder; if it exists, it must be empty.
        search: replaces the model's own. A beam search or greedy search without processors.

    Raises:
        InputError: the encoder, the decoder or the search cannot be exported, the folder is not empty or cannot be
            written, or the packages of ONNX are missing.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{shown(folder, 300)} exists already; name another folder, or remove this one")
    settings = _search_spec(search or captioner.search)
    transform = captioner.image_transform
    if captioner.encoder.reads == "features":
        raise InputError("this model's features come from files, and an exported encoder reads pixels")
    model = deepcopy(captioner).cpu().float().eval()
    traced = _trace(model)
    config = Config(
        format_version=FORMAT_VERSION,
        captioning_version=__version__,
        vocabulary=model.tokenizer.vocabulary,
        special=vars(model.tokenizer.special),
        word_level=model.tokenizer.is_word_level,
        transform=transform.to_dict(),
        search=settings,
        features=_specs(FEATURES, traced.features, frozenset()),
        state=_specs(STATE, state_tensors(traced.state), traced.with_rows),
    )
    with new_folder(folder) as made:
        _write_programs(model, traced, made)
        write_json(made / CONFIG, msgspec.to_builtins(config))
        write_text(made / TOKENIZER, model.tokenizer.to_json())
        write_digests(made)
        _check(model, load_onnx(made))
    return folder


def _search_spec(search: Search) -> SearchSpec:
    number = getattr(search, "length_normalization", 0.0)
    if not isinstance(search, (BeamSearch, GreedySearch)) or search.processors or not isinstance(number, (int, float)):
        raise InputError(
            f"a {type(search).__name__} with these settings cannot be exported; expected a beam search without "
            "processors and length rules: give --beam-size 5, or search=BeamSearch() in Python"
        )
    beam_size = search.beam_size if isinstance(search, BeamSearch) else 1
    return SearchSpec(beam_size, float(number), search.max_length, search.allow_unknown)


@dataclass(frozen=True)
class _Traced:
    """The tensors with which a model's programs are traced.

    Attributes:
        pixels: (2, C, H, W).
        features: of these images, by name.
        state: of four rows of these images.
        with_rows: the names of the state's tensors that have rows.
    """

    pixels: Tensor
    features: Mapping[str, Tensor]
    state: State
    with_rows: frozenset[str]


@torch.no_grad()
def _trace(model: Captioner) -> _Traced:
    """Compute the tensors, and check that a step changes only those that have rows."""
    pixels = _some_pixels(model, _IMAGES)
    try:
        features = model.read_by_head(model.encoder(pixels))
        state = model.decoder.start(features).rows(torch.arange(_ROWS) % _IMAGES)
        _, following = model.decoder.step(torch.zeros(_ROWS, dtype=torch.int64), state)
        before, after, with_rows = state_tensors(state), state_tensors(following), tensors_with_rows(state)
    except (TypeError, InputError) as error:
        raise _refused(model.decoder, error) from error
    changed = [name for name, tensor in before.items() if name not in with_rows and after[name] is not tensor]
    if changed or set(after) != set(before):
        raise _refused(model.decoder, f"a step changes {', '.join(changed) or 'the kind of its state'}")
    return _Traced(pixels, feature_tensors(features), state, with_rows)


def _some_pixels(model: Captioner, count: int) -> Tensor:
    """Return `count` images of random pixels, the same at each call."""
    random = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, *model.image_transform.size, generator=random).sub(0.5).div(0.25)


def _specs(prefix: str, tensors: Mapping[str, Tensor], with_rows: frozenset[str]) -> list[TensorSpec]:
    return [
        TensorSpec(
            prefix + name,
            ["rows" if name in with_rows else "images", *x.shape[1:]],
            str(x.dtype).removeprefix("torch."),
        )
        for name, x in tensors.items()
    ]


class _Encode(nn.Module):
    def __init__(self, model: Captioner) -> None:
        super().__init__()
        self.encoder, self.standardise = model.encoder, model.standardise

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(feature_tensors(self.standardise(self.encoder(pixels))).values())


class _Start(nn.Module):
    def __init__(self, decoder: Decoder[Any], names: Sequence[str]) -> None:
        super().__init__()
        self.decoder, self.names = decoder, names

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        state = self.decoder.start(features_of(dict(zip(self.names, features, strict=True))))
        return tuple(state_tensors(state).values())


class _Step(nn.Module):
    def __init__(self, decoder: Decoder[Any], state: State, with_rows: frozenset[str]) -> None:
        super().__init__()
        self.decoder, self.state, self.with_rows = decoder, state, with_rows

    def forward(self, tokens: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        logits, following = self.decoder.step(tokens, state_of(self.state, state))
        return (logits, *(x for name, x in state_tensors(following).items() if name in self.with_rows))


def _write_programs(model: Captioner, traced: _Traced, folder: Path) -> None:
    """Write the three files of ONNX.

    Raises:
        InputError: torch cannot export the encoder or the decoder.
    """
    features, state, decoder = traced.features, state_tensors(traced.state), model.decoder
    of_features, of_state = [FEATURES + name for name in features], [STATE + name for name in state]
    following = [NEXT + name for name in state if name in traced.with_rows]
    tokens = torch.zeros(_ROWS, dtype=torch.int64)
    start, step = _Start(decoder, list(features)), _Step(decoder, traced.state, traced.with_rows)
    _write(_Encode(model), (traced.pixels,), ["pixels"], of_features, folder / ENCODER, model.encoder)
    _write(start, (tuple(features.values()),), of_features, of_state, folder / START, decoder)
    _write(step, (tokens, tuple(state.values())), ["tokens", *of_state], ["logits", *following], folder / STEP, decoder)


def _write(
    program: nn.Module, inputs: tuple[Any, ...], names: list[str], outputs: list[str], path: Path, part: nn.Module
) -> None:
    """Write one file. The first dimension of every input can have any size."""
    any_size = {0: torch.export.Dim.DYNAMIC}
    sizes = tuple(tuple(any_size for _ in given) if isinstance(given, tuple) else any_size for given in inputs)
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they report each operator that they leave as it is
    try:
        # Attention without gradients takes rows in blocks, whose number would be fixed in the file.
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # the exporter's own code warns; `_check` compares what it wrote
            made = torch.onnx.export(
                program.eval(), inputs, input_names=names, output_names=outputs, dynamic_shapes=sizes,
                opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
            assert made is not None
            made.save(path, external_data=False)
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    except OSError:
        raise
    except Exception as error:  # of the exporter's passes, which raise anything
        raise _refused(part, error.__cause__ or error) from error


@torch.no_grad()
def _check(model: Captioner, exported: Captioner) -> None:
    """Compare some steps for other numbers of images and rows than those that were traced.

    Raises:
        InputError: the logits differ.
    """
    pixels, rows = _some_pixels(model, _IMAGES + 1), torch.arange(_ROWS + 3) % (_IMAGES + 1)
    states = [own.decoder.start(own.encode(pixels)).rows(rows) for own in (model, exported)]
    tokens = torch.full((len(rows),), model.tokenizer.special.bos)
    for _ in range(3):
        (expected, states[0]), (found, states[1]) = (
            own.decoder.step(tokens, state) for own, state in zip((model, exported), states, strict=True)
        )
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise _refused(model.decoder, "the exported files give other logits")
        tokens = expected.topk(2).indices[:, 1]


def _refused(part: nn.Module, reason: object) -> InputError:
    text = described(reason) if isinstance(reason, BaseException) else reason
    kind = "a decoder" if isinstance(part, Decoder) else "an encoder"
    return InputError(
        f"{type(part).__name__} is {kind} that cannot be exported ({shown(text, 300)}); serve the model with Python"
    )
