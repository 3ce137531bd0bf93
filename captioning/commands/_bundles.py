"""What the commands that use a trained model share."""

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
    """Add how many `things` go through a model at once, and where."""
    parser.add_argument("--batch-size", type=positive, default=32, help=f"{things} at once (default 32)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default cpu)")


def load(bundle: str, device: str, beam_size: int | None) -> Captioner:
    """A bundle on a device, with another number of beams where one is given."""
    import torch

    from captioning.model.bundle import load_bundle

    captioner = load_bundle(bundle)
    try:
        captioner.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: {str(error).splitlines()[0]}") from error
    if beam_size is not None:
        captioner.search = _with_beams(captioner.search, beam_size)
    return captioner


def one_line(text: str) -> str:
    """A caption in one line: a model of bytes or characters can say a line's end."""
    return " ".join(text.splitlines())


def _with_beams(search: Search, beam_size: int) -> Search:
    """The bundle's search in all but its number of beams."""
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
