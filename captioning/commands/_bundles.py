"""What commands that use a trained model have in common."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from captioning.commands import positive
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from captioning.model.captioner import Captioner
    from captioning.model.image_model import ImageModel
    from captioning.search import Sampling
    from captioning.search.hypotheses import Search

M = TypeVar("M", bound="ImageModel")


def add_batches(parser: argparse.ArgumentParser, things: str) -> None:
    """Add the options for how many `things` a model processes together, and on which device."""
    parser.add_argument("--batch-size", type=positive, default=32, help=f"{things} processed together (default 32)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option that allows a bundle to name classes of other packages."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="run this package's code if the bundle needs it",
    )


def trust_as_override(arguments: Sequence[str]) -> list[str]:
    """Replace --trust PACKAGE among the arguments of a command that Hydra configures by the setting `trust`."""
    from captioning.model.safe_build import checked_names

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_trust(parser)
    options, others = parser.parse_known_args(list(arguments))
    return [*others, *([f"trust=[{','.join(checked_names(options.trust))}]"] if options.trust else [])]


def load(bundle: str, device: str, trust: Collection[str] = ()) -> Captioner:
    """Load a captioner's bundle onto a device; see `load_as`."""
    with _permanent():
        from captioning.model.captioner import Captioner

        return load_as(Captioner, bundle, device, trust)


def load_as(kind: type[M], bundle: str, device: str, trust: Collection[str] = (), *, option: str = "--device ") -> M:
    """Load a bundle of a kind of model onto a device.

    Args:
        kind: the model's class.
        bundle: the folder.
        device: as torch names it.
        trust: see `ImageModel.from_pretrained`.
        option: how the command's user names the device, for messages.

    Raises:
        InputError: the device does not exist, or the folder is not a bundle of this kind.
    """
    with _permanent():
        import torch

        model = kind.from_pretrained(bundle, trust=trust)
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{option}{device}: {str(error).splitlines()[0]}") from error
    return model


@contextmanager
def _permanent() -> Iterator[None]:
    """Collect no garbage among what is imported and built here; that would take a tenth of a short command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules and weights live as long as the command
        gc.enable()


def one_line(text: str) -> str:
    """Write a caption in one line, as models of bytes or characters generate line ends and control characters too."""
    return printable(" ".join(text.splitlines()))


def printable(text: str) -> str:
    """Escape the characters of a caption or a file's name that could end the line or command a terminal."""
    return shown(text, 10 * len(text) + 1)  # nothing is shortened


def json_line(content: Mapping[str, Any]) -> str:
    """Write a JSON object in one line, with escapes for all characters that could command a terminal."""
    text = json.dumps(content, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def with_beams(search: Search, beam_size: int | None) -> Search:
    """Return the search with another number of beams, or unchanged if `beam_size` is None."""
    if beam_size is None:
        return search
    from captioning.search import BeamSearch, GreedySearch

    kept = shared_settings(search)
    if beam_size == 1:
        return GreedySearch(**kept)
    length_normalization = search.length_normalization if isinstance(search, BeamSearch) else 0.0
    return BeamSearch(beam_size=beam_size, length_normalization=length_normalization, **kept)


def sampling(search: Search, **settings: Any) -> Sampling:
    """Build a `Sampling` from `settings`. The settings that they lack come from the bundle's search."""
    from captioning.search import Sampling

    filters = ("top_k", "top_p", "min_p", "typical_p")
    own = {name: getattr(search, name) for name in filters} if isinstance(search, Sampling) else {}
    return Sampling(**{**own, **shared_settings(search), **settings})


def shared_settings(search: Search) -> dict[str, Any]:
    """Return the settings that every search has."""
    return {"max_length": search.max_length, "allow_unknown": search.allow_unknown, "processors": search.processors}
