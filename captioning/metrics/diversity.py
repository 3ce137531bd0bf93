"""How varied captions are, and how well formed: what no comparison with references tells.

All captions are tokenized, tokens joined by one space. Shares are fractions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError
from captioning.metrics.cider import Cider, DocumentFrequencies
from captioning.metrics.metric import Metric

BAD_ENDINGS = frozenset(
    (
        "a",
        "an",
        "the",
        "in",
        "for",
        "at",
        "of",
        "with",
        "before",
        "after",
        "on",
        "upon",
        "near",
        "to",
        "is",
        "are",
        "am",
    )
)
"""Words that end no sentence: the list of the field's evaluation code (ImageCaptioning.pytorch), after Guo et al.
2018, "Improving Reinforcement Learning Based Image Captioning with Natural Language Prior", EMNLP,
arXiv:1809.06227."""


def summary(captions: Sequence[str]) -> dict[str, float]:
    """What captions, one an image, are like by themselves: for result files."""
    return {
        "empty": sum(not caption for caption in captions),
        "mean_length": mean_length(captions),
        "vocabulary": vocabulary_size(captions),
        "distinct-1": distinct(captions, 1),
        "distinct-2": distinct(captions, 2),
        "different": len(set(captions)),
        "bad_endings": bad_ending_share(captions),
    }


def distinct(captions: Iterable[str], order: int) -> float:
    """Distinct-n: different n-grams for each word, 0 where there is no word.

    Source: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL,
    arXiv:1510.03055. It falls with the number of captions: compare sets of the same size. Of the captions of one
    image, averaged over the images, it is what captioning papers call Div-n.
    """
    split = [caption.split() for caption in captions]
    ngrams = {tuple(words[i : i + order]) for words in split for i in range(len(words) - order + 1)}
    return _share(len(ngrams), sum(map(len, split)))


def vocabulary_size(captions: Iterable[str]) -> int:
    """Count the different words used."""
    return len({word for caption in captions for word in caption.split()})


def mean_length(captions: Sequence[str]) -> float:
    """Words of a caption, on average."""
    return _share(sum(len(caption.split()) for caption in captions), len(captions))


def novel_share(captions: Sequence[str], known: Collection[str]) -> float:
    """The share of captions that are not among those known, such as the training set's, word for word."""
    known = frozenset(known)
    return _share(sum(caption not in known for caption in captions), len(captions))


def bad_ending_share(captions: Sequence[str]) -> float:
    """The share of captions whose last word ends no sentence (`BAD_ENDINGS`)."""
    return _share(sum(caption.rpartition(" ")[2] in BAD_ENDINGS for caption in captions), len(captions))


def self_cider(captions: Sequence[Sequence[str]], frequencies: DocumentFrequencies) -> NDArray[np.float64]:
    """Self-CIDEr: how far apart the captions of each image are, 0 where all are the same, at most 1.

    Source: Wang and Chan 2019, "Describing like Humans: on Diversity in Image Captioning", CVPR, arXiv:1903.12020.
    With K the CIDEr of each two of an image's m captions, divided by 10, and lambda K's eigenvalues,

        r = sqrt(max lambda) / sum_i sqrt(lambda_i),   self-CIDEr = -log r / log m

    K is made of CIDEr-D, as by the authors' program. CIDEr-D is not symmetric: of two captions the later one is the
    candidate, and eigenvalues below 0 are taken for 0.

    Args:
        captions: those of each image, at least two; the number may differ.
        frequencies: of a training split, as in the paper.

    Returns:
        (I) the images' values; the corpus's is their mean.

    Raises:
        InputError: there is no image, or one has fewer than two captions.
    """
    if not captions:
        raise InputError("expected captions of at least one image, found none")
    if few := sum(len(group) < 2 for group in captions):
        raise InputError(f"expected at least two captions of each image; {few} of {len(captions)} have fewer")
    flat = [caption for group in captions for caption in group]
    sizes = [len(group) for group in captions]
    starts = np.cumsum([0, *sizes])
    later, earlier = np.concatenate(
        [start + np.array(np.tril_indices(size)) for start, size in zip(starts, sizes, strict=False)], axis=1
    )
    similarity = Cider([[caption] for caption in flat], frequencies).rewards([flat[i] for i in later], earlier) / 10
    ends = np.cumsum([size * (size + 1) // 2 for size in sizes])[:-1]
    return np.array([_spread(values, size) for values, size in zip(np.split(similarity, ends), sizes, strict=True)])


def _spread(lower_triangle: NDArray[np.float64], size: int) -> float:
    """Self-CIDEr of one image, from K's lower triangle, row by row."""
    kernel = np.zeros((size, size))
    kernel[np.tril_indices(size)] = lower_triangle
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel, UPLO="L"), 0))
    if not roots.any():  # no caption has a word
        return 0.0
    return float(-np.log(roots.max() / roots.sum()) / np.log(size))


def oracle(metric: Metric, n_best: Sequence[Sequence[str]], name: str) -> list[str]:
    """Pick each image's best caption, as one who knew the references would.

    Args:
        metric: of the images' references.
        n_best: captions of each image, at least one, in the order of the references; the number may differ.
        name: which of the metric's figures to judge by; of captions that are as good, the first one is picked.

    Returns:
        a caption for each image: what the metric says of them bounds what re-ranking can reach.

    Raises:
        InputError: not as many images as the references have, an image has no caption, or no such figure.
    """
    if name not in metric.names:
        raise InputError(f"expected one of {', '.join(metric.names)}; found {name!r}")
    if without := sum(not group for group in n_best):
        raise InputError(f"expected at least one caption of each image; {without} of {len(n_best)} have none")
    column = metric.names.index(name)
    ranks = range(max(map(len, n_best), default=1))
    # An image with fewer captions has its first one scored again, which cannot beat itself.
    figures = [
        metric.figures(metric.statistics([group[rank] if rank < len(group) else group[0] for group in n_best]))
        for rank in ranks
    ]
    best = np.stack(figures)[:, :, column].argmax(axis=0)
    return [group[rank] for group, rank in zip(n_best, best, strict=True)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
