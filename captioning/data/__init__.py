"""Files to batches: readers, data modules, the sampler and the feature store."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.data.datasets import (
        CaptionDataModule,
        CocoDataModule,
        Flickr8kDataModule,
        KarpathyDataModule,
        ParallelTextDataModule,
    )

__all__ = [
    "CaptionDataModule",
    "CocoDataModule",
    "Flickr8kDataModule",
    "KarpathyDataModule",
    "ParallelTextDataModule",
]


def __getattr__(name: str) -> Any:
    # Lazy: a reader must not wait for Lightning.
    if name in __all__:
        from captioning.data import datasets

        return getattr(datasets, name)
    raise AttributeError(f"module 'captioning.data' has no attribute {name!r}")
