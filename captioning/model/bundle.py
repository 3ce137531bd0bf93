"""A trained model as a folder.

    config.json          format version, and encoder, decoder and search as plain values
    model.safetensors    every weight
    tokenizer.json       the tokenizers library's own format
    transform.json       how an image, or a sentence, becomes the encoder's input
    metrics.json         what it scored, and on what
    README.md            the model card
    golden.safetensors, golden.json     three examples to replay, see `golden.py`
    calibration.json, calibration.safetensors     how confidences are computed, see `confidences.py`; optional
    SHA256SUMS           the digest of each file

Loading compares the files that it reads with their digests. It builds nothing larger than the weights' file, and
takes only finite weights of exactly the model's shapes and dtypes. It never unpickles, never imports a name from
outside this package, torchvision and timm, unless the caller trusts a package by name, and never touches the network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from captioning import __version__
from captioning.decoders.decoder import Decoder
from captioning.encoders.detectors import WordDetector
from captioning.encoders.encoder import Encoder
from captioning.encoders.standardise import Standardise
from captioning.encoders.surgery import example
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError, shown
from captioning.files.atomic import new_folder, write_json, write_text
from captioning.files.digests import check_digests, write_digests
from captioning.json_files import read_json, typed
from captioning.matchers import Matcher
from captioning.model import confidences as calibration_files
from captioning.model.card import model_card
from captioning.model.confidences import Confidences
from captioning.model.golden import Golden
from captioning.model.limits import REMOVED_WEIGHTS, check_file_sizes, check_numbers, no_larger_than
from captioning.model.safe_build import build
from captioning.model.stored_weights import shapes_of, under
from captioning.search import Forbid, MinLength, NoBadEndings
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer

FORMAT_VERSION = 1
HEADS: Mapping[str, type[nn.Module]] = {"decoder": Decoder, "detector": WordDetector, "matcher": Matcher}
"""The heads of models, by their names in config.json, with the base classes of each."""
FILES = ("config.json", "model.safetensors", "tokenizer.json", "transform.json")


@dataclass(frozen=True)
class Parts:
    """What a bundle holds besides its weights.

    Attributes:
        encoder: the encoder, with random weights.
        head_name: "decoder", "detector" or "matcher".
        head: the decoder, word detector or matcher, with random weights.
        tokenizer: tokenizer of the captions.
        transform: turns an image or a sentence into the encoder's input.
        standardise: scales the features; None for no scaling.
        search: how captions are decoded; None without a decoder.
        config: the plain values from which encoder, head and search were built.
        confidences: computes the confidences of captions; None if the bundle has none.
    """

    encoder: Encoder
    head_name: str
    head: nn.Module
    tokenizer: Tokenizer
    transform: ImageTransform | TextTransform
    standardise: Standardise | None
    search: Search | None
    config: Mapping[str, Any]
    confidences: Confidences | None = None


def write_bundle(
    folder: Path,
    *,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: str,
    transform: Mapping[str, Any],
    metrics: Mapping[str, Any],
    golden: Golden | None = None,
    confidences: Confidences | None = None,
) -> Path:
    """Write a bundle, which appears whole or not at all.

    Args:
        folder: the new folder; if it exists, it must be empty.
        config: encoder, head and search as plain values.
        weights: all weights, of encoder, head and standardise.
        tokenizer: the tokenizers library's JSON.
        transform: the transform as plain values.
        metrics: content of metrics.json and of the model card.
        golden: golden examples; None for none.
        confidences: computes the confidences of captions; None for none.

    Raises:
        InputError: the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; name another folder for the bundle, or remove this one")
    config = {"format_version": FORMAT_VERSION, "captioning_version": __version__, **config}
    config["encoder"] = _without_source(config["encoder"])
    try:
        with new_folder(folder) as made:
            for file, content in (("config", config), ("transform", transform), ("metrics", metrics)):
                write_json(made / f"{file}.json", content)
            write_text(made / "tokenizer.json", tokenizer)
            write_text(made / "README.md", model_card(config, metrics))
            save_file({name: _plain(value) for name, value in weights.items()}, made / "model.safetensors")
            if golden is not None:
                golden.write(made)
            if confidences is not None:
                confidences.write(made)
            write_digests(made)
    except (InputError, safetensors.SafetensorError) as error:
        raise InputError(f"the bundle {folder} could not be written: {error}") from error
    return folder


def _without_source(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Return an encoder's values without the sources of its weights and of those of encoders inside it."""

    def cleared(key: str, value: Any) -> Any:
        if key == "weights":
            return None
        if isinstance(value, Mapping):
            return _without_source(value)
        return [cleared("", one) for one in value] if isinstance(value, (list, tuple)) else value

    return {key: cleared(key, value) for key, value in encoder.items()}


def _plain(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as a bundle holds it: on the CPU, and in float32 if it is a float."""
    weight = weight.detach().cpu().contiguous()
    return weight.float() if weight.is_floating_point() else weight


def read_bundle(folder: Path, *, trust: Collection[str] = ()) -> Parts:
    """Check a bundle's digests and build its parts, without its weights.

    Args:
        folder: the bundle.
        trust: packages whose classes it may name; see `captioning.model.safe_build.build`.

    Raises:
        InputError: the folder is not a bundle, has another format version, or a file is missing or damaged.
    """
    expected = "a bundle is the folder `bundle/` of a run, or what `captioning bundle CHECKPOINT OUT` makes"
    if not folder.is_dir():
        raise InputError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}; {expected}")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no bundle: {', '.join(missing)} not found; {expected}")
    files = (*FILES, *(calibration_files.FILES if calibration_files.found_in(folder) else ()))
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise InputError(f"{folder}: {', '.join(missing)} not found; copy the bundle again, or calibrate it again")
    check_file_sizes(folder, files)
    check_digests(folder, files)
    parts = build_parts(
        _read_config(folder / "config.json"),
        _read_text(folder / "tokenizer.json"),
        read_json(folder / "transform.json"),
        shapes=shapes_of(folder / "model.safetensors"),
        folder=folder,
        trust=trust,
    )
    if not calibration_files.found_in(folder):
        return parts
    own = Confidences.read(folder, feature_size=parts.encoder.feature_size, vocab_size=len(parts.tokenizer))
    return replace(parts, confidences=own)


def build_parts(
    config: Config,
    tokenizer: str,
    transform: Mapping[str, Any],
    *,
    shapes: Mapping[str, Sequence[int]],
    folder: Path,
    trust: Collection[str] = (),
) -> Parts:
    """Build the parts of a model from plain values, but nothing larger than its weights.

    Args:
        config: encoder, head and search as plain values.
        tokenizer: the tokenizers library's JSON.
        transform: the transform as plain values.
        shapes: the shape of each weight.
        folder: where these values come from, for messages.
        trust: packages whose classes `config` may name; see `captioning.model.safe_build.build`.

    Raises:
        InputError: a value is damaged or of another model.
    """
    source = str(folder / "config.json")
    name, values = config.head(source)
    check_numbers([config.encoder, values, config.standardise], source)
    own_tokenizer = Tokenizer.from_json(tokenizer, source=folder / "tokenizer.json")
    with no_larger_than(under("encoder.", shapes), spare=REMOVED_WEIGHTS):
        encoder = build(config.encoder, Encoder, source=source, trust=trust)  # type: ignore[type-abstract]
    own_transform = _build_transform(transform, folder / "transform.json", encoder)
    with no_larger_than(under(f"{name}.", shapes)):
        head: Any = build(values, HEADS[name], source=source, trust=trust)
    if len(own_tokenizer) != head.vocab_size:
        raise InputError(
            f"{folder}: tokenizer.json has {len(own_tokenizer)} tokens and config.json's {name} {head.vocab_size}; "
            "the files are of different models: copy the bundle again"
        )
    _check_widths(values, getattr(encoder, "feature_sizes", (encoder.feature_size,)), name, source)
    deviation, search = config.standardise, config.search
    return Parts(
        encoder,
        name,
        head,
        own_tokenizer,
        own_transform,
        standardise=Standardise(encoder.feature_size, deviation=float(deviation)) if deviation else None,
        search=None if search is None else _build_search(search, source, num_tokens=len(own_tokenizer), trust=trust),
        config=config.plain(),
    )


def _check_widths(values: Any, widths: Sequence[int], name: str, source: str) -> None:
    """Check that a head, and each decoder inside it, reads features of the width that its encoder has.

    Args:
        values: the plain values of the head, or of what is inside it.
        widths: F of each encoder. A part with a value `encoder` reads the one of that number, other parts the first.
            What is inside a part with a value `zero_size` reads zeros of that width instead.
        name: of the head, for the message.
        source: where the values come from.
    """
    if isinstance(values, (list, tuple)):
        for value in values:
            _check_widths(value, widths, name, source)
    if not isinstance(values, Mapping):
        return
    number = values.get("encoder", 0)
    own = widths[number : number + 1] if isinstance(number, int) and number >= 0 else ()
    if not own or values.get("feature_size", own[0]) != own[0]:
        raise InputError(
            f"{source}: the encoder's features have {' and '.join(map(str, widths))} channels and the {name} reads "
            f"{shown(values.get('feature_size'))} of encoder {shown(number)}; the parts are of different models: copy "
            "the bundle again"
        )
    inside = own if "encoder" in values else widths
    if isinstance(zero_size := values.get("zero_size"), int):
        inside = (zero_size,)
    for value in values.values():
        _check_widths(value, inside, name, source)


class Config(msgspec.Struct):
    """The content of config.json. It has one head: a decoder, with its search, or a detector, or a matcher."""

    encoder: dict[str, Any]
    decoder: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    detector: dict[str, Any] | None = None
    matcher: dict[str, Any] | None = None
    standardise: bool | Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    format_version: int = FORMAT_VERSION
    captioning_version: str = __version__

    def head(self, source: str) -> tuple[str, dict[str, Any]]:
        """Return the head's name and its plain values.

        Raises:
            InputError: there is not exactly one head, or a decoder lacks its search.
        """
        found = {name: value for name in HEADS if (value := getattr(self, name)) is not None}
        if len(found) != 1 or ("decoder" in found) != (self.search is not None):
            raise InputError(
                f"{source}: expected a decoder and a search, or a detector, or a matcher, found "
                f"{', '.join(found) or 'none'}{'' if self.search is None else ', search'}; copy the bundle again"
            )
        return next(iter(found.items()))

    def plain(self) -> dict[str, Any]:
        """Return the values that describe the model, without the versions."""
        optional = (*HEADS, "search")
        return {
            key: value
            for key, value in msgspec.structs.asdict(self).items()
            if "version" not in key and not (key in optional and value is None)
        }

    def without_source(self) -> Config:
        """Return the same without the file or name from which the encoder's weights came."""
        return msgspec.structs.replace(self, encoder=_without_source(self.encoder))


def _read_config(path: Path) -> Config:
    config = read_json(path)
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path.parent} has bundle format {repr(version)[:40]} and captioning {__version__} reads format "
            f"{FORMAT_VERSION}; install the version that wrote it "
            f"({str(config.get('captioning_version', 'unknown'))[:40]}) or bundle it anew"
        )
    return typed(config, Config, str(path))


def _build_transform(values: Mapping[str, Any], path: Path, encoder: Encoder) -> ImageTransform | TextTransform:
    """Build the transform and check that the encoder takes its images: some encoders take one size only."""
    if encoder.reads == "texts":
        return _build_text_transform(values, path, encoder)
    transform = ImageTransform.from_dict(values)
    own = encoder.transform
    if encoder.reads != "images" or (isinstance(own, ImageTransform) and transform.size == own.size):
        return transform
    try:
        with torch.no_grad():
            encoder.eval()(example(transform))
    except (RuntimeError, AssertionError) as error:
        height, width = transform.size
        raise InputError(
            f"{path} makes images of {height} x {width}, which config.json's encoder does not take "
            f"({str(error)[:200]}); the files are of different models: copy the bundle again"
        ) from error
    return transform


def _build_text_transform(values: Mapping[str, Any], path: Path, encoder: Encoder) -> TextTransform:
    transform = TextTransform.from_dict(values)
    if len(transform.tokenizer) != encoder.vocab_size:
        raise InputError(
            f"{path} has {len(transform.tokenizer)} tokens and config.json's encoder {encoder.vocab_size}; the files "
            "are of different models: copy the bundle again"
        )
    return transform


def _build_search(config: Mapping[str, Any], source: str, *, num_tokens: int, trust: Collection[str]) -> Search:
    search: Search = build(config, Search, source=source, trust=trust)  # type: ignore[type-abstract]
    for processor in search.processors:
        ids = {*processor.ids} if isinstance(processor, (Forbid, NoBadEndings)) else set[int]()
        ids |= {processor.eos} if isinstance(processor, (MinLength, NoBadEndings)) else set()
        if not all(0 <= i < num_tokens for i in ids):
            name = type(processor).__name__
            raise InputError(f"{source}: {name} names tokens outside the vocabulary of {num_tokens}")
    return search


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}; copy the bundle again") from error
