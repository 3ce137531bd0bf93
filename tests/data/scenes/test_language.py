"""A small parser reads captions back and compares every claim with the objects."""

import re
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from captioning.data.example import Mention
from captioning.data.scenes.language import describe, find_mentions, usual_caption
from captioning.data.scenes.layout import Layout, Thing, sample_layout
from captioning.data.scenes.shapes import COLOURS, SHAPES

NOUNS = {name: name for name in SHAPES} | {
    "sphere": "ball",
    "gift": "box",
    "hoop": "ring",
    "cottage": "house",
    "sailboat": "boat",
}
PLACES = {
    "on the grass": "grass",
    "in a field": "grass",
    "on the sand": "sand",
    "at the beach": "sand",
    "in the snow": "snow",
    "on snowy ground": "snow",
    "on the water": "sea",
    "at sea": "sea",
    "at night": "night",
    "in the dark": "night",
    "on the road": "road",
    "on a street": "road",
    "on a brick wall": "wall",
    "against a wall": "wall",
}
SIZE_WORDS = {"large": "large", "big": "large", "small": "small", "little": "small"}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}


def edges(thing: Thing) -> tuple[float, float, float, float]:
    left, top, width, height = thing.box
    return left, top, left + width, top + height


def left_of(first: Thing, second: Thing) -> bool:
    a, b = edges(first), edges(second)
    across = abs((a[1] + a[3]) - (b[1] + b[3]))
    return a[2] < b[0] and across < 0.5 * abs((a[0] + a[2]) - (b[0] + b[2]))


def above(first: Thing, second: Thing) -> bool:
    a, b = edges(first), edges(second)
    across = abs((a[0] + a[2]) - (b[0] + b[2]))
    return a[3] < b[1] and across < 0.5 * abs((a[1] + a[3]) - (b[1] + b[3]))


def behind(first: Thing, second: Thing) -> bool:
    # Boxes enclose visible parts, so the two may only touch; the tolerance is one pixel of the raster.
    a, b = edges(first), edges(second)
    touch = all(a[i] < b[i + 2] + 0.005 and b[i] < a[i + 2] + 0.005 for i in (0, 1))
    return touch and first.hidden > 0 and second.hidden == 0


def next_to(first: Thing, second: Thing) -> bool:
    a, b = edges(first), edges(second)
    gap = max(a[0], b[0]) - min(a[2], b[2])
    return (left_of(first, second) or left_of(second, first)) and gap < 0.15


def between(middle: Thing, first: Thing, last: Thing) -> bool:
    return any(on(first, middle) and on(middle, last) for on in (left_of, above))


PAIR_RELATIONS = {
    "to the left of": left_of,
    "left of": left_of,
    "to the right of": lambda a, b: left_of(b, a),
    "right of": lambda a, b: left_of(b, a),
    "next to": next_to,
    "beside": next_to,
    "above": above,
    "over": above,
    "below": lambda a, b: above(b, a),
    "under": lambda a, b: above(b, a),
    "beneath": lambda a, b: above(b, a),
    "behind": behind,
    "partly hidden by": behind,
    "in front of": lambda a, b: behind(b, a),
    "partly covering": lambda a, b: behind(b, a),
}


def one_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


OBJECT = re.compile(rf"\b(an?) (?:({one_of(SIZE_WORDS)}) )?({one_of(COLOURS)}) ({one_of(NOUNS)})\b")
BETWEEN = re.compile(r"<(\d)> (?:(?:is|sits|can be seen) )?(?:in )?between <(\d)> and <(\d)>")
PAIR = re.compile(rf"<(\d)> (?:(?:is|sits|can be seen) )?({one_of(PAIR_RELATIONS)}) <(\d)>")
LIST = re.compile(r"<(\d)>(?:, <(\d)>)? and <(\d)>")
SMALL = re.compile(rf"\bwith ({one_of(NUMBERS)}) small objects\b")
NUMBER = re.compile(rf"\b({one_of(NUMBERS)}) (?:objects|things)\b")
PLACE = re.compile(rf"\b({one_of(PLACES)})\b")
FILLERS = {"", "there", "is", "are", "and", "with", "nearby", "a", "picture", "of"}


class Reading:
    """A parsed caption. Each step removes what it understands from the text and checks it."""

    def __init__(self, caption: str, layout: Layout) -> None:
        assert re.fullmatch(r"[A-Z][a-z ,:]*[a-z]\.", caption), caption
        self.layout = layout
        self.named: list[Thing] = []
        text = OBJECT.sub(self.name, caption[0].lower() + caption[1:-1])
        text = BETWEEN.sub(self.check_between, text)
        text = PAIR.sub(self.check_pair, text)
        text = LIST.sub(" ", text)
        text = SMALL.sub(self.check_small, text)
        text = NUMBER.sub(self.check_number, text)
        text = PLACE.sub(self.check_place, text)
        self.left_over = set(re.split(r"[ ,:]+|<\d>", text)) - FILLERS

    def name(self, match: re.Match) -> str:
        article, size, colour, noun = match.groups()
        described = [t for t in self.layout.things if (t.colour, t.category) == (colour, NOUNS[noun])]
        assert len(described) == 1
        assert size is None or described[0].size == SIZE_WORDS[size]
        assert (article == "an") == ((size or colour)[0] in "aeiou")
        self.named.append(described[0])
        return f"<{len(self.named) - 1}>"

    def check_between(self, match: re.Match) -> str:
        assert between(*(self.named[int(i)] for i in match.groups()))
        return " "

    def check_pair(self, match: re.Match) -> str:
        first, relation, second = match.groups()
        assert PAIR_RELATIONS[relation](self.named[int(first)], self.named[int(second)])
        return " "

    def check_small(self, match: re.Match) -> str:
        unnamed = [thing for thing in self.layout.things if thing not in self.named]
        assert len(unnamed) == NUMBERS[match[1]]
        assert {thing.size for thing in unnamed} == {"small"}
        return " "

    def check_number(self, match: re.Match) -> str:
        assert len(self.layout.things) == NUMBERS[match[1]]
        return " "

    def check_place(self, match: re.Match) -> str:
        assert self.layout.background == PLACES[match[1]]
        return " "


def scene(seed: int) -> tuple[Layout, tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    layout = sample_layout(rng)
    return layout, describe(layout, rng)


@given(st.integers(0, 2**32 - 1))
def test_every_colour_and_shape_word_mentions_the_object_that_the_parser_reads(seed: int) -> None:
    layout, captions = scene(seed)
    expected = []
    for row, caption in enumerate(captions):
        for phrase, thing in zip(OBJECT.finditer(caption.lower()), Reading(caption, layout).named, strict=True):
            described = (layout.things.index(thing),)
            expected += [
                Mention(row, *phrase.span(group), kind, described) for group, kind in ((3, "colour"), (4, "shape"))
            ]
    assert find_mentions(captions, layout.things) == tuple(expected)
    assert len(expected) >= 20  # five captions name two objects or more


def test_a_phrase_that_fits_two_objects_mentions_both() -> None:
    layout, _ = scene(0)
    red, blue, other = (replace(layout.things[0], colour=c, category="ball") for c in ("red", "blue", "red"))
    found = find_mentions(["There is a red sphere."], [red, blue, other])
    assert found == (Mention(0, 11, 14, "colour", (0, 2)), Mention(0, 15, 21, "shape", (0, 2)))


def words(caption: str) -> str:
    return re.sub(r"[^a-z ]", "", caption.lower())


@given(st.integers(0, 2**32 - 1))
def test_every_claim_of_every_caption_is_understood_and_true(seed: int) -> None:
    layout, captions = scene(seed)
    for caption in captions:
        reading = Reading(caption, layout)
        assert not reading.left_over, caption
        assert set(reading.named) >= set(layout.things[: layout.num_related]), caption


@given(st.integers(0, 2**32 - 1))
def test_a_usual_caption_is_true_and_says_what_it_is_about(seed: int) -> None:
    layout, _ = scene(seed)
    readings = {subject: Reading(usual_caption(layout, subject), layout) for subject in ("relation", "number", "list")}
    assert not any(reading.left_over for reading in readings.values())
    assert usual_caption(layout, "number").lower().split()[0] in NUMBERS
    others = len(layout.things) - layout.num_related
    related = layout.things[: layout.num_related]
    assert set(readings["list"].named) == set(layout.things if others == 1 else related)
    assert set(readings["relation"].named) == set(readings["number"].named) == set(related)


def test_false_captions_are_detected() -> None:
    rng = np.random.default_rng(0)
    num_false = 0
    for _ in range(50):
        layout, other = sample_layout(rng), sample_layout(rng)
        for caption in describe(layout, rng):
            try:
                num_false += bool(Reading(caption, other).left_over)
            except AssertionError:
                num_false += 1
    assert num_false == 250


@given(st.integers(0, 2**32 - 1))
def test_a_scene_has_five_different_captions_of_6_to_20_words(seed: int) -> None:
    _, captions = scene(seed)
    assert len(set(captions)) == len(captions) == 5
    assert all(6 <= len(words(caption).split()) <= 20 for caption in captions)


def test_the_vocabulary_is_small_and_the_captions_are_many() -> None:
    captions = [caption for seed in range(400) for caption in scene(seed)[1]]
    vocabulary = {word for caption in captions for word in words(caption).split()}
    assert 60 <= len(vocabulary) <= 120
    assert len(set(captions)) > 0.99 * len(captions)


def test_captions_of_one_scene_agree_by_cider() -> None:
    scenes = [[words(caption) for caption in scene(seed)[1]] for seed in range(150)]
    scores = []
    for k in range(5):
        others = {i: captions[:k] + captions[k + 1 :] for i, captions in enumerate(scenes)}
        held_out = {i: [captions[k]] for i, captions in enumerate(scenes)}
        scores.append(Cider().compute_score(others, held_out)[0])
    assert np.mean(scores) > 2
