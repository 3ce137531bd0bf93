"""Names of options: what other libraries call them is answered with the name here."""

from __future__ import annotations

import pytest

from captioning.search.names import OTHERS, as_option, as_setting, called, in_python, ours, unknown
from captioning.search.options import OPTIONS


def test_every_option_of_a_search_has_names_and_no_name_belongs_to_two() -> None:
    assert set(OPTIONS) <= set(OTHERS)
    names = [*OTHERS, *" ".join(OTHERS.values()).split()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("num_beams", "beam_size"),
        ("--num-beams", "beam_size"),
        ("--beam_size", "beam_size"),
        ("--n-best", "num_best"),
        ("num_return_sequences", "num_best"),
        ("max_new_tokens", "max_length"),
        ("no_repeat_ngram_size", "no_repeat_ngram"),
        ("length_penalty", "length_normalization"),
        ("bad_words_ids", "banned"),
        ("colour", None),
    ],
)
def test_a_name_of_another_library_is_found_with_dashes_too(given: str, expected: str | None) -> None:
    assert ours(given, OTHERS) == expected


def test_an_answer_names_only_options_that_there_are() -> None:
    assert called("num_beams", ["seed"], in_python) is None
    assert unknown("num_beams", ["seed"], in_python) == "there is no option num_beams; expected one of seed"


def test_each_reader_gets_the_spelling_to_write() -> None:
    assert unknown("--num-beams", OTHERS, as_option) == "--num-beams is called --beam-size here"
    assert unknown("num_beams", OTHERS, in_python) == "num_beams is called beam_size here"
    assert unknown("search.beam_sise", ["beam_size"], as_setting).endswith("did you mean search.beam_size?")
