"""Train, compare, score and use neural image captioners with recurrent decoders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.model.captioner import Captioner

__version__ = "0.1.0"
__all__ = ["Captioner", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy: `captioning --help` must not wait for torch.
    if name == "Captioner":
        from captioning.model.captioner import Captioner

        return Captioner
    raise AttributeError(f"module 'captioning' has no attribute {name!r}")
