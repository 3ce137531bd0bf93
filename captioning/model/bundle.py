"""A trained model as a folder.

    config.json          format version, and encoder, decoder and search as plain values
    model.safetensors    every weight
    tokenizer.json       the tokenizers library's own format
    transform.json       how an image, or a sentence, becomes the encoder's input
    metrics.json         what it scored, and on what
    README.md            the model card

Reading one never unpickles, never imports a name from outside this package, torchvision and timm, unless the caller
trusts a package by name, and never touches the network.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from captioning import __version__
from captioning.decoders.decoder import Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.standardise import Standardise
from captioning.encoders.surgery import example
from captioning.encoders.text import TextEncoder
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.model.safe_build import build, packages
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import Tokenizer

FORMAT_VERSION = 1
FILES = ("config.json", "model.safetensors", "tokenizer.json", "transform.json")


@dataclass(frozen=True)
class Parts:
    """What a bundle holds besides its weights.

    Attributes:
        encoder: the encoder, with random weights.
        decoder: the decoder, with random weights.
        tokenizer: tokenizer of the captions.
        transform: turns an image or a sentence into the encoder's input.
        standardise: scales the features; None for no scaling.
        search: how captions are decoded.
        config: the plain values from which encoder, decoder and search were built.
    """

    encoder: Encoder
    decoder: Decoder[Any]
    tokenizer: Tokenizer
    transform: ImageTransform | TextTransform
    standardise: Standardise | None
    search: Search
    config: Mapping[str, Any]


def write_bundle(
    folder: Path,
    *,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: str,
    transform: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Path:
    """Write a bundle to a temporary folder, then rename it, so that it appears whole or not at all.

    Args:
        folder: the new folder; if it exists, it must be empty.
        config: encoder, decoder and search as plain values.
        weights: all weights, of encoder, decoder and standardise.
        tokenizer: the tokenizers library's JSON.
        transform: the transform as plain values.
        metrics: content of metrics.json and of the model card.

    Raises:
        InputError: the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; name another folder for the bundle, or remove this one")
    config = {"format_version": FORMAT_VERSION, "captioning_version": __version__, **config}
    config["encoder"] = {key: None if key == "weights" else value for key, value in config["encoder"].items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            made = Path(name) / "bundle"
            made.mkdir()
            for file, content in (("config", config), ("transform", transform), ("metrics", metrics)):
                (made / f"{file}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            (made / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
            (made / "README.md").write_text(model_card(config, metrics), encoding="utf-8")
            plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
            save_file(plain, made / "model.safetensors")
            if folder.exists():
                folder.rmdir()
            made.replace(folder)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the bundle {folder} could not be written: {reason}") from error
    return folder


def read_bundle(folder: Path, *, trust: Collection[str] = ()) -> Parts:
    """Build the parts of a bundle, without its weights.

    Args:
        folder: the bundle.
        trust: packages whose classes it may name; see `captioning.model.safe_build.build`.

    Raises:
        InputError: the folder is not a bundle, has another format version, or a file is missing or damaged.
    """
    config, source = _read_config(folder), str(folder / "config.json")
    encoder = build(config["encoder"], Encoder, source=source, trust=trust)  # type: ignore[type-abstract]
    transform = _read_transform(folder / "transform.json", encoder)
    decoder: Decoder[Any] = build(config["decoder"], Decoder, source=source, trust=trust)  # type: ignore[type-abstract]
    tokenizer = Tokenizer.from_json(_read_text(folder / "tokenizer.json"), source=folder / "tokenizer.json")
    if len(tokenizer) != decoder.vocab_size:
        raise InputError(
            f"{folder}: tokenizer.json has {len(tokenizer)} tokens and config.json's decoder {decoder.vocab_size}; "
            "the files are of different models: copy the bundle again"
        )
    deviation = config.get("standardise")
    return Parts(
        encoder,
        decoder,
        tokenizer,
        transform,
        standardise=Standardise(encoder.feature_size, deviation=float(deviation)) if deviation else None,
        search=build(config["search"], Search, source=source, trust=trust),  # type: ignore[type-abstract]
        config={key: config[key] for key in ("encoder", "decoder", "search", "standardise") if key in config},
    )


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load a bundle's weights into the model that was built from its parts.

    Raises:
        InputError: the file is damaged, or its weights are of another model.
    """
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}; copy the bundle again") from error
    except RuntimeError as error:
        raise InputError(f"{path} does not fit config.json: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    expected = "a bundle is the folder `bundle/` of a run, or what `captioning bundle CHECKPOINT OUT` makes"
    if not folder.is_dir():
        raise InputError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}; {expected}")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is no bundle: {', '.join(missing)} not found; {expected}")
    config = _read_json(folder / "config.json")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{folder} has bundle format {version!r} and captioning {__version__} reads format {FORMAT_VERSION}; "
            f"install the version that wrote it ({config.get('captioning_version', 'unknown')}) or bundle it anew"
        )
    parts = [key for key in ("encoder", "decoder", "search") if not isinstance(config.get(key), dict)]
    if parts:
        raise InputError(f"{folder / 'config.json'} lacks {', '.join(parts)}")
    return config


def _read_transform(path: Path, encoder: Encoder) -> ImageTransform | TextTransform:
    """Read the transform and check that the encoder takes its images: some encoders take one size only."""
    values = _read_json(path)
    if isinstance(encoder, TextEncoder):
        return _read_text_transform(values, path, encoder)
    transform = ImageTransform.from_dict(values)
    if encoder.reads != "images" or transform == encoder.transform:
        return transform
    try:
        with torch.no_grad():
            encoder.eval()(example(transform))
    except (RuntimeError, AssertionError) as error:
        height, width = transform.size
        raise InputError(
            f"{path} makes images of {height} x {width}, which config.json's encoder does not take ({error}); "
            "the files are of different models: copy the bundle again"
        ) from error
    return transform


def _read_text_transform(values: Mapping[str, Any], path: Path, encoder: TextEncoder) -> TextTransform:
    transform = TextTransform.from_dict(values)
    if len(transform.tokenizer) != encoder.vocab_size:
        raise InputError(
            f"{path} has {len(transform.tokenizer)} tokens and config.json's encoder {encoder.vocab_size}; the files "
            "are of different models: copy the bundle again"
        )
    return transform


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}; copy the bundle again") from error


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        raise InputError(f"{path} is damaged: {error}; copy the bundle again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: expected a JSON object, found {type(content).__name__}")
    return content


def model_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The bundle's README.md."""

    def short(part: str) -> str:
        return str(config[part]["_target_"]).rpartition(".")[2]

    encoder = config["encoder"].get("model")
    translates = short("encoder") == TextEncoder.__name__
    kind, use = ("A translator", 'translate("A sentence.")') if translates else ("A captioner", 'caption("image.jpg")')
    foreign = sorted(packages(config))
    trust = f", trust={json.dumps(foreign)}" if foreign else ""
    lines = [
        f"# {short('decoder')} on {short('encoder')}" + (f" ({encoder})" if encoder else ""),
        "",
        f"{kind}, made with captioning {config['captioning_version']}.",
        "",
        "```python",
        "from captioning import Captioner",
        "",
        f'captioner = Captioner.from_pretrained("PATH/OF/THIS/FOLDER"{trust})',
        f"print(captioner.{use}.text)",
        "```",
        "",
        f"Decoded by {short('search')}. What it writes follows its training captions. It can be wrong about its "
        "input, and it repeats the way in which the training captions describe people.",
    ]
    if "metrics" in metrics:
        signature = metrics.get("signature", {})
        where = f"{signature.get('data', '?')} {signature.get('split', '?')}, {signature.get('num_images', '?')} images"
        lines += ["", f"Scores on {where} (fractions):", "", "| metric | value |", "| --- | --- |"]
        lines += [f"| {name} | {value:.4f} |" for name, value in metrics["metrics"].items()]
    return "\n".join(lines) + "\n"
