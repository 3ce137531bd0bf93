"""The score of an image and a sentence, from the vectors of their regions and words."""

from __future__ import annotations

import torch
from torch import Tensor

from captioning.decoders.attention import in_float
from captioning.matchers.matcher import Embedded

BLOCK = 2**24
"""How many products of a region and a word are in memory at once: 64 MiB in float32."""


def best_regions(images: Embedded, sentences: Embedded, *, block: int = BLOCK) -> Tensor:
    """Score every sentence with every image: each word takes the region that fits it best.

        S_kl = Σ_{t ∈ g_l} max_{i ∈ g_k} v_i · s_t                                                                 (8)

    Source: Karpathy & Fei-Fei 2015 (arXiv:1412.2306). With one vector each, this is their product; of unit vectors, the
    cosine. If regions are equally good, one of them gets the gradient.

    The products (I, R, words) are computed in blocks of images and sentences, and none for padding among the words. A
    score depends on its own image and sentence alone, so blocks change nothing. Of each block autograd keeps the index
    of the best regions, and no products.

    Args:
        images: v, I images.
        sentences: s, N sentences.
        block: the number of products in memory; at least those of one image and one sentence are.

    Returns:
        S, (I, N), float32 at least.
    """
    num_regions, num_words = images.vectors.shape[1], sentences.vectors.shape[1]
    pairs = max(1, block // (num_regions * num_words))  # of an image and a sentence
    columns = [sentences.rows(some) for some in _slices(len(sentences), pairs)]
    rows = [images.rows(some) for some in _slices(len(images), max(1, pairs // len(sentences)))]
    return torch.cat([torch.cat([_scores(v, s) for s in columns], 1) for v in rows])


def _slices(count: int, step: int) -> list[slice]:
    return [slice(begin, begin + step) for begin in range(0, count, step)]


def _scores(images: Embedded, sentences: Embedded) -> Tensor:
    (num_images, num_regions, _), (num_sentences, num_words, _) = images.vectors.shape, sentences.vectors.shape
    mask = sentences.mask
    words = sentences.vectors.flatten(0, 1) if mask is None else sentences.vectors[mask]
    products = in_float(images.vectors.flatten(0, 1) @ words.t()).view(num_images, num_regions, -1)
    if images.mask is not None:
        products = products.masked_fill(~images.mask[:, :, None], -torch.inf)
    best = products.max(1).values  # not amax, for which autograd keeps the products
    if mask is None:
        return best.view(num_images, num_sentences, num_words).sum(2)  # (8)
    return best.new_zeros(num_images, *mask.shape).masked_scatter(mask, best).sum(2)


def per_word(similarity: Tensor, sentences: Embedded) -> Tensor:
    """Divide each sentence's scores (I, N) by its number of words, so that long and short sentences compare.

    A sentence without words keeps its score, 0. The order of the images for a sentence does not change.
    """
    if sentences.mask is None:
        return similarity / sentences.vectors.shape[1]
    return similarity / sentences.mask.sum(1).clamp(min=1)
