"""Check that a bundle is whole and still gives the captions that it gave when it was saved."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from captioning.errors import InputError
from captioning.files.digests import check_digests
from captioning.model import golden
from captioning.model.load import load_model


def check_bundle(folder: Path, *, trust: Collection[str] = ()) -> str:
    """Check a bundle: the digests of all its files, its weights, and its golden examples.

    Args:
        folder: the bundle.
        trust: packages whose classes the bundle may name.

    Returns:
        What was checked, as one sentence.

    Raises:
        InputError: a file is missing, damaged or of another model, or a golden example gives another caption.
    """
    model = load_model(folder, trust=trust)
    unchanged = check_digests(folder)
    examples = golden.Golden.read(folder)
    if examples is not None:
        try:
            found = model.decode_features(examples.features)
        except Exception as error:  # features of another model raise anything: IndexError, RuntimeError, ...
            raise InputError(
                f"{folder}: {golden.FEATURES} does not fit the model ({str(error)[:200]}); copy the bundle again"
            ) from error
        examples.check(found, str(folder))
    digests = "all digests match" if unchanged else "it has no digests, as earlier versions wrote it"
    replayed = "without golden examples" if examples is None else f"{len(found)} golden examples give the same captions"
    return f"the weights fit and are finite; {digests}; {replayed}"
