"""Find the sizes of the objects that the words of a split's captions mention.

The words are those of the pointing game: the data set's mentions, as the generated scenes have them, or else the nouns
that name an annotated category. Only the references that word detectors are scored against count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioning.data.example import CaptionedImage, SceneObject
from captioning.evaluation.pointing import find_targets
from captioning.metrics.word_counts import NUM_REFERENCES
from captioning.metrics.word_sizes import WordSizes, thirds
from captioning.text.tokenizer import Tokenizer


def find_sizes(images: Sequence[CaptionedImage], tokenizer: Tokenizer, word_ids: Sequence[int]) -> WordSizes | None:
    """Find the sizes of the objects that W words mention in I images; limits are thirds of the mentioned objects.

    Args:
        images: a split.
        tokenizer: the detector's.
        word_ids: the detector's words.

    Returns:
        None if no word mentions an object with a box, such as for images whose objects were not read.
    """
    column = {token: number for number, token in enumerate(word_ids)}
    targets = find_targets(images, tokenizer)[0] if any(image.objects for image in images) else []
    mentioned: dict[tuple[int, int], set[int]] = {}
    for row, own in enumerate(targets):
        ids = tokenizer.encode(images[row].captions)
        for target in own:
            word = column.get(ids[target.caption][1 + target.token])  # after <bos>
            if word is not None and target.caption < NUM_REFERENCES:
                mentioned.setdefault((row, word), set()).update(target.objects)
    if not mentioned:
        return None
    objects = {(row, number) for (row, _), numbers in mentioned.items() for number in numbers}
    limits = thirds(np.array([_area(images[row].objects[number]) for row, number in sorted(objects)]))
    areas = {pair: [_area(images[pair[0]].objects[n]) for n in numbers] for pair, numbers in mentioned.items()}
    return WordSizes.of(areas, limits, (len(images), len(word_ids)))


def _area(found: SceneObject) -> float:
    """Return the area of an object's box as a share of the image."""
    return found.box[2] * found.box[3]
