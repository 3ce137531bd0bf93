"""Names of categories in captions: plurals, names of several words, and what is another name's part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.text.category_names import CategoryNames

COCO = CategoryNames(
    ["person", "dog", "bear", "teddy bear", "fire hydrant", "hot dog", "bus", "knife", "sheep", "skis", "couch",
     "wine glass", "mouse", "sports ball", "orange", "dining table", "sandwich", "toothbrush", "tv", "scissors"]
)  # fmt: skip


def found(caption: str, names: CategoryNames = COCO) -> list[tuple[str, str]]:
    return [(caption[begin:end], category) for begin, end, category in names.find(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog and two Dogs.", [("dog", "dog"), ("Dogs", "dog")]),
        ("a man, some people and women", [("man", "person"), ("people", "person"), ("women", "person")]),
        ("a red fire hydrant, fire  hydrants", [("fire hydrant", "fire hydrant"), ("fire  hydrants", "fire hydrant")]),
        ("teddy bears beside a bear", [("teddy bears", "teddy bear"), ("bear", "bear")]),
        ("a hot-dog and a dog", [("hot-dog", "hot dog"), ("dog", "dog")]),
        ("buses and knives", [("buses", "bus"), ("knives", "knife")]),
        ("mice, sandwiches", [("mice", "mouse"), ("sandwiches", "sandwich")]),
        ("sheep with a ski and skis", [("sheep", "sheep"), ("ski", "skis"), ("skis", "skis")]),
        ("wine glasses on a table", [("wine glasses", "wine glass"), ("table", "dining table")]),
        ("a sofa, a TV and toothbrushes", [("sofa", "couch"), ("TV", "tv"), ("toothbrushes", "toothbrush")]),
        ("a soccer ball", [("soccer ball", "sports ball")]),
        ("a doghouse, a dog-house, bearing, mans", []),
        ("the dog's bowl", [("dog", "dog")]),
        ("", []),
    ],
)  # fmt: skip
def test_names_are_whole_words_and_the_longest_counts(caption: str, expected: list[tuple[str, str]]) -> None:
    assert found(caption) == expected


def test_a_category_s_own_name_comes_before_other_names() -> None:
    assert found("a ball, a box, cherries", CategoryNames(["ball", "box", "cherry"])) == [
        ("ball", "ball"), ("box", "box"), ("cherries", "cherry")
    ]  # fmt: skip


def test_a_hot_dog_is_no_dog_where_there_are_no_hot_dogs() -> None:
    assert found("a hot dog", CategoryNames(["dog"])) == [("hot dog", "hot dog")]


@pytest.mark.parametrize("name", ["t.x", "tv (old)", "c++", "Dog House", "ſ", "İ", "a|b"])
def test_signs_of_regular_expressions_are_plain_characters(name: str) -> None:
    assert found(f"tax, x {name} y", CategoryNames([name])) == [(name, name)]


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4), st.text(max_size=30))
def test_any_categories_and_captions_give_names_within_the_caption(names: list[str], caption: str) -> None:
    for begin, end, category in CategoryNames([*names, "dog"]).find(f"{caption} dogs"):
        assert 0 <= begin < end <= len(caption) + 5
        assert any(character.isalnum() or character == "_" for character in category)
