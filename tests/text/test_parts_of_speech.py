from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from captioning.errors import InputError
from captioning.text.parts_of_speech import CLASSES, english_tagger, parts_of_speech

CAPTIONS = [
    ["the", "dog", "runs", "while", "she", "walks", "to", "paris"],
    ["two", "long", "walks", "are", "there"],
    ["she", "walks", "the", "dog"],
]
TAGS = {
    "the": "DET", "dog": "NOUN", "runs": "VERB", "while": "SCONJ", "she": "PRON", "to": "ADP", "paris": "PROPN",
    "two": "NUM", "long": "ADJ", "are": "AUX", "there": "ADV",
}  # fmt: skip


def tagger(tokens: Sequence[str]) -> list[str]:
    """Tag `walks` by its neighbour."""
    return [
        ("VERB" if tokens[n - 1] == "she" else "NOUN") if token == "walks" else TAGS[token]
        for n, token in enumerate(tokens)
    ]


def test_tags_of_universal_dependencies_become_the_papers_classes() -> None:
    expected = {
        "dog": "NN", "paris": "NN", "runs": "VB", "are": "VB", "long": "JJ", "the": "DT", "she": "PRP", "to": "IN",
        "while": "IN", "two": "other", "there": "other",
    }  # fmt: skip
    found = parts_of_speech(list(expected), CAPTIONS, tagger)
    assert found == expected
    assert list(found) == list(expected)
    assert set(found.values()) == set(CLASSES)


def test_the_class_is_the_one_that_the_word_has_most_often() -> None:
    assert parts_of_speech(["walks"], CAPTIONS, tagger) == {"walks": "VB"}
    for captions in (CAPTIONS[1:], CAPTIONS[:0:-1]):  # once each: the first of CLASSES
        assert parts_of_speech(["walks"], captions, tagger) == {"walks": "NN"}


def test_tags_of_one_class_count_together() -> None:
    tags = iter([["AUX"], ["VERB"], ["NOUN"], ["ADJ"], ["ADJ"], ["VERB"]])
    assert parts_of_speech(["can"], [["can"]] * 6, lambda _: next(tags)) == {"can": "VB"}


def test_the_number_of_words_of_each_class_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parts_of_speech(["dog", "walks", "paris"], CAPTIONS, tagger)
    assert "parts of speech: 2 NN, 1 VB, 0 JJ, 0 DT, 0 PRP, 0 IN, 0 other" in caplog.text


def test_words_that_do_not_occur_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 of 3 words do not occur in the captions.*the first is 'cat'"):
        parts_of_speech(["dog", "cat", "bird"], CAPTIONS, tagger)


def test_a_missing_tagger_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "denckring_en_pos", None)
    with pytest.raises(InputError, match=r"need denckring-en-pos: pip install 'captioning\[words\]', or score all"):
        english_tagger()


def test_the_english_tagger_reads_a_word_in_its_sentence() -> None:
    pytest.importorskip("denckring_en_pos")
    tag = english_tagger()
    assert tag(["two", "dogs", "are", "running", "on", "the", "grass"]) == [
        "NUM", "NOUN", "AUX", "VERB", "ADP", "DET", "NOUN"
    ]  # fmt: skip
    assert tag(["the", "evening", "walks", "were", "long"])[2] == "NOUN"
    assert tag(["she", "walks", "home"])[1] == "VERB"
    assert tag([]) == []


@pytest.mark.shared
def test_classes_of_flickr8ks_words(shared: Any) -> None:
    pytest.importorskip("denckring_en_pos")
    from captioning.data.readers.flickr8k import Flickr8k
    from captioning.text import train_words
    from captioning.text.penn_treebank import ptb_normalizer

    normalizer = ptb_normalizer()
    images = Flickr8k(str(shared / "data" / "flickr8k")).read("train", check_files=False)
    captions = [caption for image in images for caption in image.captions]
    tokens = [normalizer.normalize_str(caption).split() for caption in captions]
    found = parts_of_speech(train_words(captions).vocabulary[4:1004], tokens, english_tagger())
    numbers = [list(found.values()).count(name) for name in CLASSES]
    assert numbers == pytest.approx([606, 194, 102, 12, 17, 43, 26], abs=3)  # an independent count of the same words
