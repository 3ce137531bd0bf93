from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioning.metrics.ngrams import MAX_ORDER, NGramIndex, ReferenceNGrams, ranges

CAPTIONS = st.lists(st.lists(st.sampled_from(["a", "b", "ab", "é"]), max_size=7).map(" ".join), max_size=5)


def ngrams_of(caption: str, order: int) -> Counter[str]:
    words = caption.split()
    return Counter(" ".join(words[i : i + order]) for i in range(len(words) - order + 1))


@given(CAPTIONS, CAPTIONS)
def test_counts_equal_those_of_a_counter(held: list[str], captions: list[str]):
    index, _ = NGramIndex.of(held)
    reading = index.read(captions)
    assert reading.lengths.tolist() == [len(caption.split()) for caption in captions]
    for order in range(1, MAX_ORDER + 1):
        known = sorted({ngram for caption in held for ngram in ngrams_of(caption, order)})
        names = index.ngrams(order, np.arange(len(known))) + reading.new_ngrams(order)
        assert sorted(names[: len(known)]) == known
        assert len(set(names)) == len(names)
        counted: list[Counter[str]] = [Counter() for _ in captions]
        for caption, ngram, count in zip(*reading.orders[order - 1].count(), strict=True):
            counted[caption][names[ngram]] = int(count)
        assert counted == [ngrams_of(caption, order) for caption in captions]


def test_reading_other_captions_adds_nothing_to_the_index():
    index, _ = NGramIndex.of(["a dog runs"])
    first = index.read(["a cat runs", "a dog"])
    index.read(["the cat sat"])
    again = index.read(["a cat runs", "a dog"])
    for before, after in zip(first.orders, again.orders, strict=True):
        assert before.ngrams.tolist() == after.ngrams.tolist()
        assert before.num_ngrams == after.num_ngrams


@given(st.lists(CAPTIONS.filter(bool), min_size=1, max_size=4))
def test_postings_count_an_ngram_in_each_reference(references: list[list[str]]):
    ngrams = ReferenceNGrams(references)
    flat = [reference for group in references for reference in group]
    assert ngrams.num_images == len(references)
    assert ngrams.lengths.tolist() == [len(reference.split()) for reference in flat]
    for order, postings in enumerate(ngrams.postings, start=1):
        held: list[Counter[str]] = [Counter() for _ in flat]
        names = ngrams.index.ngrams(order, postings.ngrams)
        for name, start, end in zip(names, postings.starts[:-1], postings.starts[1:], strict=True):
            for reference, count in zip(postings.references[start:end], postings.counts[start:end], strict=True):
                held[reference][name] = int(count)
        assert held == [ngrams_of(reference, order) for reference in flat]
        assert (np.diff(postings.keys) > 0).all()


def test_an_ngram_is_found_in_the_references_of_its_own_image():
    ngrams = ReferenceNGrams([["a dog"], ["a cat", "the cat"]])
    reading = ngrams.index.read(["cat", "cat", "cow"])
    found, places = ngrams.postings[0].find(np.array([0, 1, 1]), reading.orders[0].ngrams)
    assert found.tolist() == [1]
    start, end = ngrams.postings[0].starts[places[0] :][:2]
    assert ngrams.postings[0].references[start:end].tolist() == [1, 2]


def test_ranges_are_concatenated():
    assert ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert ranges(np.array([], np.int64), np.array([], np.int64)).tolist() == []
