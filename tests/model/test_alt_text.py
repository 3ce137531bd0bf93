"""Alternative texts: their beginning, their end and their length."""

from __future__ import annotations

import pytest

from captioning.errors import InputError
from captioning.model.alt_text import LONGEST, NOTICE, alt_text


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog runs on a field", "A dog runs on a field."),
        ("a photo of two cats .", "Two cats."),
        ("An image of a picture of the sea", "The sea."),
        ("a photograph of", "A photograph of."),
        ("a man 's dog does n't move", "A man's dog doesn't move."),
        ("is it a dog ?", "Is it a dog ?"),
        ("  élan  ", "Élan."),
        ("", ""),
    ],
)
def test_it_is_a_sentence_that_does_not_say_that_there_is_an_image(caption: str, expected: str) -> None:
    found = alt_text(caption)
    assert (str(found), found.shortened) == (expected, False)


def test_a_long_caption_loses_whole_words_and_ends_with_no_article() -> None:
    words = ["a", "dog", "and"] * 50
    found = alt_text(" ".join(words))
    assert found.shortened
    assert len(found.text) <= LONGEST
    assert found.text.endswith("dog.")
    assert found.text[:-1].lower().split() == words[: len(found.text.split())]
    exact = "x" * 60 + " " + "y" * 63
    assert (alt_text(exact).text, alt_text(exact).shortened) == (f"X{exact[1:]}.", False)
    assert alt_text(exact + "y").text == f"X{'x' * 59}."


def test_a_word_is_never_divided() -> None:
    found = alt_text("x" * 200)
    assert (found.text, found.shortened) == ("", True)


def test_the_notice_is_first_and_counts() -> None:
    assert alt_text("a dog", notice=NOTICE).text == f"{NOTICE} A dog."
    assert alt_text("a dog", notice=" ").text == "A dog."
    found = alt_text("dog " * 50, notice=NOTICE)
    assert found.shortened
    assert LONGEST - 4 <= len(found.text) <= LONGEST
    with pytest.raises(InputError, match="the notice has 80 characters, expected at most"):
        alt_text("a dog", notice="n" * 80)
