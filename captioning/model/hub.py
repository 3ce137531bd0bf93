"""Models on the Hugging Face hub: their bundles are downloaded once."""

from __future__ import annotations

import re
from pathlib import Path

from captioning.errors import InputError, shown

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ("*.json", "*.safetensors", "README.md", "SHA256SUMS")
"""The files of a bundle. No other file of a repository is downloaded."""


def is_hub_name(where: Path) -> bool:
    """Return whether a path that does not exist may be a name on the hub: owner/name, where owner is no folder."""
    return _NAME.fullmatch(where.as_posix()) is not None and not where.parent.exists()


def download(name: str) -> Path:
    """Download a model's bundle from the hub, or find it in the cache of earlier downloads.

    Args:
        name: owner/name.

    Returns:
        The bundle's folder, in the hub's cache.

    Raises:
        InputError: there is no such model, or no network and no earlier download.
    """
    from huggingface_hub import snapshot_download  # takes a tenth of a second to import
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{shown(name)} is no folder, and the hub has no public model of that name; name a folder, or log in with "
            "`hf auth login` if the model is private"
        ) from error
    except Exception as error:  # the hub's client and the library that it asks have many errors of their own
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.100}"
        raise InputError(
            f"{shown(name)} is no folder, and could not be downloaded from the hub ({reason}); name a folder, or run "
            "the command once where there is a network"
        ) from error
