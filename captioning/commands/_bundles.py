"""What commands that use a trained model have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from captioning.commands import positive
from captioning.errors import InputError

if TYPE_CHECKING:
    from captioning.model.captioner import Captioner
    from captioning.search import Sampling
    from captioning.search.hypotheses import Search


def add_batches(parser: argparse.ArgumentParser, things: str) -> None:
    """Add the options for how many `things` a model processes together, and on which device."""
    parser.add_argument("--batch-size", type=positive, default=32, help=f"{things} processed together (default 32)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")


def load(bundle: str, device: str) -> Captioner:
    """Load a bundle onto a device.

    Raises:
        InputError: There is no such device, or the folder is not a bundle.
    """
    import torch

    from captioning.model.captioner import Captioner

    captioner = Captioner.from_pretrained(bundle)
    try:
        captioner.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: {str(error).splitlines()[0]}") from error
    return captioner


def one_line(text: str) -> str:
    """Replace line ends in a caption, which a model of bytes or characters can generate, by spaces."""
    return " ".join(text.splitlines())


def with_beams(search: Search, beam_size: int | None) -> Search:
    """Return a search that differs in its number of beams; None leaves it as it is."""
    if beam_size is None:
        return search
    from captioning.search import BeamSearch, GreedySearch

    settings = vars(search)
    kept = {name: settings[name] for name in ("max_length", "allow_unknown", "processors")}
    if beam_size == 1:
        return GreedySearch(**kept)
    length_normalization = settings.get("length_normalization", 0.0)
    return BeamSearch(beam_size=beam_size, length_normalization=length_normalization, **kept)


def sampling(search: Search, **settings: Any) -> Sampling:
    """Sampling by `settings`, and for the rest as the bundle's search, of any kind, says."""
    from captioning.search import Sampling

    own = vars(search)
    shared = ("top_k", "top_p", "max_length", "allow_unknown", "processors")
    return Sampling(**{name: own[name] for name in shared if name in own} | settings)
