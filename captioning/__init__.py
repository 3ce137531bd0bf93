"""Train, compare, score and use neural image captioners with recurrent decoders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.model.aligner import Aligner
    from captioning.model.captioner import Captioner
    from captioning.model.concept_detector import ConceptDetector

__version__ = "0.1.0"
__all__ = ["Aligner", "Captioner", "ConceptDetector", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy: `captioning --help` must not wait for torch.
    if name == "Captioner":
        from captioning.model.captioner import Captioner

        return Captioner
    if name == "ConceptDetector":
        from captioning.model.concept_detector import ConceptDetector

        return ConceptDetector
    if name == "Aligner":
        from captioning.model.aligner import Aligner

        return Aligner
    raise AttributeError(f"module 'captioning' has no attribute {name!r}")
