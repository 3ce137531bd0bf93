"""Read weights safely from files and downloads, and load them strictly."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from captioning.errors import InputError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def read_weights(path: str | Path) -> Mapping[str, Tensor]:
    """Read a state dict from a `.safetensors` or PyTorch file without running any code in it.

    Raises:
        InputError: the file does not exist, is of another kind, is damaged, or does not map names to tensors.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"weights {path}: expected a file ending in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise anything; torch's own message says how to run a pickle
        raise InputError(
            f"weights {path}: cannot be read as tensors and plain data. The file is damaged or holds other objects; "
            "get it again, or save the network's state dict as .safetensors"
        ) from error
    others = [] if not isinstance(state, dict) else [k for k, v in state.items() if not isinstance(v, Tensor)]
    if not isinstance(state, dict) or others:
        found = f"{len(others)} other entries ({_some(others)})" if others else type(state).__name__
        raise InputError(
            f"weights {path}: expected a state dict, names to tensors alone, found {found}; "
            "save its state dict as a separate file"
        )
    return state


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load every weight of `model` from `state`, which must hold exactly these weights.

    Raises:
        InputError: names, shapes or kinds of numbers differ. The message counts the weights and names a few.
    """
    own = model.state_dict()
    # .safetensors files have no layer versions: assume this network's.
    versions = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]
    state = OrderedDict((_modern(name), tensor) for name, tensor in state.items())
    state._metadata = versions  # type: ignore[attr-defined]
    common = own.keys() & state.keys()
    wrong = [
        f"{name} is {list(state[name].shape)}, expected {list(own[name].shape)}"
        for name in common
        if state[name].shape != own[name].shape
    ]
    other = [
        f"{name} is {state[name].dtype}, expected {own[name].dtype}"
        for name in common
        if state[name].is_floating_point() != own[name].is_floating_point()
    ]
    if wrong or other:
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    else:
        # A failure leaves the network half loaded, but the error below prevents its use.
        missing, unexpected = model.load_state_dict(state, strict=False)
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": sorted(wrong),
        "of another kind": sorted(other),
    }
    if any(problems.values()):
        counts = "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in problems.items() if names)
        raise InputError(
            f"weights {source} do not fit {type(model).__name__}: {counts}; of {len(own)} weights. "
            "Name the model that these weights belong to"
        )


def require_finite(model: nn.Module, source: str | Path) -> None:
    """Check that all weights are finite. Call it after unused layers are removed: some published ones are NaN.

    Raises:
        InputError: a weight is not finite. The message counts the weights and names a few.
    """
    found = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if found:
        raise InputError(
            f"weights {source}: {len(found)} of {len(model.state_dict())} have numbers that are not finite "
            f"({_some(found)}); get the file again, or choose other weights"
        )


@contextmanager
def downloading(what: str, *, place: str = "") -> Iterator[None]:
    """Convert a failed download to an InputError that says what failed and what to do instead."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # every library has its own network errors
        raise InputError(
            f"{what} could not be downloaded ({type(error).__name__}: {_first_line(error)}). Without a "
            f"network, encoder.weights=PATH reads a local {SUFFIXES[0]} or {SUFFIXES[1]} file{place}"
        ) from error


def similar(name: str, known: Iterable[str]) -> str:
    """List the known names that are most similar to `name`, for an error message."""
    return ", ".join(get_close_matches(name, list(known), n=5, cutoff=0.4)) or "nothing"


def _modern(name: str) -> str:
    # Published DenseNet files predate the rule against dots in module names: norm.1 is now norm1.
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name)


def _some(names: Iterable[object]) -> str:
    words = list(map(str, names))
    return ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
