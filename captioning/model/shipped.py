"""The trained models that come with the package."""

from __future__ import annotations

from pathlib import Path

import captioning

DEFAULT = "flickr8k"
"""The model that captions images if no other is named."""

_PACKAGE = Path(captioning.__file__).parent
_FOLDERS = (_PACKAGE / "models", _PACKAGE.parent / "models")
"""Where the models lie: in an installed package, and in the repository."""


def shipped() -> dict[str, Path]:
    """Find the models that come with the package: their bundles by name."""
    return {path.parent.name: path.parent for folder in _FOLDERS for path in sorted(folder.glob("*/config.json"))}
