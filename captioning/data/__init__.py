"""Files to batches: readers, splits, cached features, and the data module."""

from typing import TYPE_CHECKING, Any

from captioning.data.loading import Loading
from captioning.data.splits import Splits

if TYPE_CHECKING:
    from captioning.data.module import CaptionDataModule

__all__ = ["CaptionDataModule", "Loading", "Splits"]


def __getattr__(name: str) -> Any:
    # Lazy: the import of a reader must not wait for that of Lightning.
    if name == "CaptionDataModule":
        from captioning.data.module import CaptionDataModule

        return CaptionDataModule
    raise AttributeError(f"module 'captioning.data' has no attribute {name!r}")
