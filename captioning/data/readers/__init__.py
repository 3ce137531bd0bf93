"""Readers, one module per file format, that turn a data set's files into captioned images."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.data.readers.coco import Coco
    from captioning.data.readers.flickr8k import Flickr8k
    from captioning.data.readers.folder import Folder
    from captioning.data.readers.karpathy import Karpathy
    from captioning.data.readers.parallel import ParallelText

_MODULES = {
    "Coco": "coco",
    "Flickr8k": "flickr8k",
    "Folder": "folder",
    "Karpathy": "karpathy",
    "ParallelText": "parallel",
}
__all__ = ["Coco", "Flickr8k", "Folder", "Karpathy", "ParallelText"]


def __getattr__(name: str) -> Any:
    # Lazy: the import of Flickr8k must not wait for that of pycocotools.
    if name in _MODULES:
        return getattr(import_module(f"captioning.data.readers.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'captioning.data.readers' has no attribute {name!r}")
