"""The part of speech of each word of a vocabulary: the one that it has most often in the training captions.

Source: Fang et al. 2015, "From Captions to Visual Concepts and Back", CVPR, arXiv:1411.4952, reports detectors of words
by these classes. The official code (s-gupta/visual-concepts) maps each token's tag to one of the classes, and takes the
class that the word has most often.

Differs: the tags are those of Universal Dependencies, by an averaged perceptron that was trained on the English Web
Treebank (UD English-EWT), instead of the Penn Treebank's by NLTK, whose model is no part of any package. Auxiliary
verbs are VB, proper nouns NN, and subordinating conjunctions IN, as in the Penn Treebank.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from captioning.errors import InputError, shown

log = logging.getLogger(__name__)

Tagger = Callable[[Sequence[str]], Sequence[str]]
"""Maps the tokens of a sentence to as many tags of Universal Dependencies, such as NOUN."""

CLASSES = NN, VB, JJ, DT, PRP, IN, OTHER = "NN", "VB", "JJ", "DT", "PRP", "IN", "other"
"""Nouns, verbs, adjectives, determiners, pronouns, prepositions with conjunctions that subordinate, and the rest."""

_CLASS = {
    "NOUN": NN,
    "PROPN": NN,
    "VERB": VB,
    "AUX": VB,
    "ADJ": JJ,
    "DET": DT,
    "PRON": PRP,
    "ADP": IN,
    "SCONJ": IN,
}


def parts_of_speech(words: Sequence[str], captions: Iterable[Sequence[str]], tagger: Tagger) -> dict[str, str]:
    """Find the class of each word. Of classes that a word has equally often, the first in `CLASSES` counts.

    Args:
        words: the words, in lower case if the tokens are.
        captions: the tokens of each training caption, whole, as the tagger reads a word's neighbours too.
        tagger: such as `english_tagger()`.

    Returns:
        By word, in the order of `words`.

    Raises:
        InputError: a word does not occur in the captions.
    """
    counts: dict[str, Counter[str]] = {word: Counter() for word in words}
    for tokens in captions:
        for token, tag in zip(tokens, tagger(tokens), strict=True):
            if token in counts:
                counts[token][_CLASS.get(tag, OTHER)] += 1
    if without := [word for word, found in counts.items() if not found]:
        raise InputError(
            f"{len(without)} of {len(words)} words do not occur in the captions, so they have no part of speech; "
            f"the first is '{shown(without[0])}'; give the training captions, tokenized as the words were"
        )
    classes = {word: max(CLASSES, key=found.__getitem__) for word, found in counts.items()}
    numbers = Counter(classes.values())
    log.info("parts of speech: %s", ", ".join(f"{numbers[name]} {name}" for name in CLASSES))
    return classes


def english_tagger() -> Tagger:
    """Load the tagger of denckring-en-pos, whose model is in the package.

    Raises:
        InputError: the package is missing.
    """
    try:
        from denckring_en_pos import tagger
    except ImportError as error:
        raise InputError(
            "parts of speech need denckring-en-pos: pip install 'captioning[words]', or score all words together"
        ) from error
    model = tagger()

    def tag(tokens: Sequence[str]) -> list[str]:
        return [label.partition("|")[0] for label in model.tag(tokens)]  # "VERB|Fin": the form of the verb follows

    return tag
