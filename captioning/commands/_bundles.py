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


def add_model(parser: argparse.ArgumentParser, what: str, *, default: str | None = None) -> None:
    """Add the option that names the model. It must be given if there is no default."""
    parser.add_argument(
        "--model",
        required=default is None,
        default=default,
        metavar="WHERE",
        help=f"{what}: its bundle, its run's folder, or a checkpoint",
    )


def load(
    model: str | Sequence[str], device: str, trust: Collection[str] = (), *, option: str = "--device "
) -> Captioner:
    """Load a captioner onto a device, or several as one ensemble; see `load_as`."""
    with _permanent():
        from captioning.model.captioner import Captioner
        from captioning.model.ensemble import ensemble

        models = [model] if isinstance(model, str) else model
        captioners = [load_as(Captioner, where, device, trust, option=option) for where in models]
        return captioners[0] if len(captioners) == 1 else ensemble(captioners)


def load_as(kind: type[M], where: str, device: str, trust: Collection[str] = (), *, option: str = "--device ") -> M:
    """Load a kind of model onto a device.

    Args:
        kind: the model's class.
        where: a bundle, the folder of a run, or a run's checkpoint.
        device: as torch names it.
        trust: see `ImageModel.from_pretrained`.
        option: how the command's user names the device, for messages.

    Raises:
        InputError: the device does not exist, or there is no model of this kind.
    """
    with _permanent():
        import torch

        model = kind.from_pretrained(where, trust=trust)
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
