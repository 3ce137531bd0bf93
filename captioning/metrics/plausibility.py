"""Find what makes scores meaningless although they can be computed, such as CIDEr of a single image."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from captioning.errors import shown
from captioning.metrics.files import ImageId, listing
from captioning.metrics.ngrams import MAX_ORDER
from captioning.metrics.table import metric_class

Captions = Mapping[ImageId, Sequence[str]]

# Scripts that are written without spaces between words. If the words of a text have this many letters on average, or
# more, nobody has put spaces between them.
_UNSPACED = (
    (re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 3),  # Chinese, Japanese
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 8),  # Thai, Lao, Burmese, Khmer
)


def doubts_of_references(
    text: Captions, tokenized: Captions, metrics: Collection[str], *, other_frequencies: bool
) -> list[str]:
    """Say what makes scores against these references meaningless.

    Args:
        text: the references as published.
        tokenized: their tokens, joined by spaces.
        metrics: the names of the metrics.
        other_frequencies: whether CIDEr has the document frequencies of other references.

    Returns:
        One sentence per doubt.
    """
    doubts = [*_empty("reference", tokenized), *_unspaced("references", text, metrics)]
    if len(tokenized) == 1:
        doubts.append("there is one image, so no confidence interval and no test is computed")
    if not other_frequencies and (names := [name for name in metrics if name.startswith("CIDEr")]):
        if len(tokenized) == 1:
            doubts.append(
                f"{names[0]} of a single image is always 0, because its document frequencies come from the given "
                "references; give those of a larger data set, for example by --document-frequencies"
            )
        elif len({frozenset(group) for group in tokenized.values()}) == 1:
            doubts.append(f"all images have the same references, so {names[0]} is 0 for all captions")
    return [*doubts, *([] if doubts else _short("reference", tokenized, metrics))]


def doubts_of_captions(
    text: Captions, tokenized: Captions, references: Captions, metrics: Collection[str]
) -> list[str]:
    """Say what makes the scores of these captions meaningless.

    Args:
        text: the captions as they were written, one in each group.
        tokenized: their tokens, joined by spaces.
        references: the tokens of the references, of the same images.
        metrics: the names of the metrics.

    Returns:
        One sentence per doubt.
    """
    doubts = [*_empty("caption", tokenized), *_unspaced("captions", text, metrics)]
    different = {caption for group in tokenized.values() for caption in group}
    if len(tokenized) > 1 and len(different) == 1:
        doubts.append(f"all {len(tokenized)} captions are the same: '{shown(min(different))}'")
    elif len(tokenized) > 1 and all(set(group) <= set(references[image_id]) for image_id, group in tokenized.items()):
        doubts.append(f"each of the {len(tokenized)} captions is one of the references of its image; is it a copy?")
    return [*doubts, *([] if doubts else _short("caption", tokenized, metrics))]


def _empty(what: str, tokenized: Captions) -> list[str]:
    empty = [image_id for image_id, group in tokenized.items() if not all(group)]
    return [f"images with an empty {what} after tokenization: {listing(empty)}"] if empty else []


def _short(what: str, tokenized: Captions, metrics: Collection[str]) -> list[str]:
    """BLEU-4 counts sequences of four tokens, which shorter texts do not have."""
    captions = [caption for group in tokenized.values() for caption in group]
    if "BLEU" not in metrics or any(len(caption.split()) >= MAX_ORDER for caption in captions):
        return []
    longest = max(len(caption.split()) for caption in captions)
    return [f"no {what} has {MAX_ORDER} tokens, so BLEU-{MAX_ORDER} is about 0; the longest has {longest}"]


def _unspaced(what: str, text: Captions, metrics: Collection[str]) -> list[str]:
    """A text without spaces is one token, so that captions match as a whole or not at all."""
    if not any(metric_class(name).tokenizer for name in metrics):
        return []
    captions = [caption for group in text.values() for caption in group]
    together = "\n".join(captions)
    for letters, longest in _UNSPACED:
        if together.isascii() or not letters.search(together):
            continue
        found = [caption for caption in captions if 2 * len(letters.findall(caption)) > sum(map(str.isalpha, caption))]
        unspaced = [caption for caption in found if _mean_word(caption, letters) >= longest]
        if 2 * len(unspaced) > len(found):
            return [
                f"{len(unspaced)} {what} have no spaces between words, so that each is about one token and scores mean "
                f"little: '{shown(unspaced[0], 40)}'; put spaces between words, in captions and references alike"
            ]
    return []


def _mean_word(caption: str, letters: re.Pattern[str]) -> float:
    """Compute how many letters of the given script a word has on average, of the words that have any."""
    counts = [len(letters.findall(word)) for word in caption.split()]
    return sum(counts) / sum(count > 0 for count in counts)
