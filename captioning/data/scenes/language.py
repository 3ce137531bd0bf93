"""Describe a scene in five true captions that use different words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from captioning.data.example import Mention
from captioning.data.scenes.layout import Layout, Thing
from captioning.data.scenes.shapes import COLOURS, SHAPES

KINDS = ("colour", "shape")
"""What the annotated words of a caption say of an object."""

# A phrase that is listed n times is n times as likely.
_NOUNS = {
    "ball": ("ball", "ball", "ball", "sphere"),
    "box": ("box", "box", "box", "gift"),
    "ring": ("ring", "ring", "ring", "hoop"),
    "house": ("house", "house", "house", "cottage"),
    "boat": ("boat", "boat", "boat", "sailboat"),
}
_SIZE_WORDS = {
    "large": ("large", "large", "big", "", ""),
    "medium": ("",),
    "small": ("small", "small", "little", "", ""),
}
_PLACES = {
    "grass": ("on the grass", "on the grass", "on the grass", "in a field"),
    "sand": ("on the sand", "on the sand", "on the sand", "at the beach"),
    "snow": ("in the snow", "in the snow", "in the snow", "on snowy ground"),
    "sea": ("on the water", "on the water", "on the water", "at sea"),
    "night": ("at night", "at night", "at night", "in the dark"),
    "road": ("on the road", "on the road", "on the road", "on a street"),
    "wall": ("on a brick wall", "on a brick wall", "on a brick wall", "against a wall"),
}
_PHRASES = {
    "left of": ("to the left of",) * 4 + ("left of", "next to", "beside"),
    "right of": ("to the right of",) * 4 + ("right of", "next to", "beside"),
    "above": ("above",) * 4 + ("over",),
    "below": ("below",) * 3 + ("under", "beneath"),
    "in front of": ("in front of",) * 4 + ("partly covering",),
    "behind": ("behind",) * 4 + ("partly hidden by",),
    "between": ("between",) * 4 + ("in between",),
}
CONVERSE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
}
"""The relation of the second object to the first."""
_NUMBERS = ("no", "one", "two", "three", "four", "five")

# {first} {relation}: "a red ball" "to the left of a blue box"; {all}: the related objects as a list;
# {rest}: the other objects; {place}: the background; {number}: the number of all objects.
_PLAIN_FORMS = ("{first} is {relation} {place}",) * 2 + ("{place}, {first} is {relation}",)
_RELATION_FORMS = (
    "{first} {relation} {place}",
    "there is {first} {relation} {place}",
    "{first} sits {relation} {place}",
    "{first} can be seen {relation}",
    "a picture of {first} {relation}",
    "{first} {relation}",
)
_LIST_FORMS = ("{all} {place}", "{all} are {place}", "there is {all} {place}", "{place} there is {all}")
_LIST_FORMS_WITH_REST = ("{all} {place} with {rest}", "{all} are {place} with {rest}")
_NUMBER_FORMS = (
    "{number} objects {place}, with {first} {relation}",
    "{number} things {place}: {first} {relation}",
    "there are {number} objects and {first} is {relation}",
)
_USUAL_FORMS = {"relation": _PLAIN_FORMS[0], "number": _NUMBER_FORMS[0]}
_REST_FORM = "{first} is {relation}, with {rest} nearby"
_CONVERSE_FORMS = ("{second} is {converse} {place}", "there is {second} {converse} {place}")


def describe(layout: Layout, rng: np.random.Generator) -> tuple[str, ...]:
    """Write five different captions: two state the relation, one lists objects, one counts them, one varies in form.

    Every caption mentions the objects of the relation, almost always in the order of the layout.
    """
    has_others = len(layout.things) > layout.num_related
    one, two = (_RELATION_FORMS[i] for i in rng.permutation(len(_RELATION_FORMS))[:2])
    more = [_REST_FORM] if has_others else []
    if layout.relation in CONVERSE:
        more += _CONVERSE_FORMS
    forms = (
        _pick(rng, _PLAIN_FORMS),
        one,
        _pick(rng, _LIST_FORMS_WITH_REST if has_others else _LIST_FORMS),
        _pick(rng, _NUMBER_FORMS),
        _pick(rng, more or [two]),
    )
    return tuple(_sentence(layout, forms[i], rng) for i in rng.permutation(len(forms)))


def usual_caption(layout: Layout, subject: str) -> str:
    """Write one caption, in a usual form and with the most usual words.

    Args:
        layout: the scene.
        subject: "relation": it states the relation. "number": it gives the number of objects too. "list": it lists the
            objects, and those outside the relation, if there are any.
    """
    with_rest = len(layout.things) > layout.num_related
    forms = _USUAL_FORMS | {"list": (_LIST_FORMS_WITH_REST if with_rest else _LIST_FORMS)[0]}
    return _sentence(layout, forms[subject], None)


def find_mentions(captions: Sequence[str], things: Sequence[Thing]) -> tuple[Mention, ...]:
    """Find the colour and shape words of a scene's captions, and the objects that each of them describes.

    A noun phrase ends in a colour and a shape ("a large red ball"), and both describe the objects that have both. The
    objects of a generated scene have different colours, so each word describes one of them.

    Args:
        captions: of the scene.
        things: its objects.

    Returns:
        The words in the order of the captions; `objects` are rows of `things`.
    """
    found = []
    for row, caption in enumerate(captions):
        for phrase in _COLOUR_AND_SHAPE.finditer(caption):
            described = tuple(i for i, thing in enumerate(things) if _fits(thing, *phrase.groups()))
            found += [Mention(row, *phrase.span(group), kind, described) for group, kind in enumerate(KINDS, start=1)]
    return tuple(found)


def _fits(thing: Thing, colour: str, noun: str) -> bool:
    return thing.colour == colour and noun in _nouns(thing.category)


def _sentence(layout: Layout, form: str, rng: np.random.Generator | None) -> str:
    first, *others = (_noun_phrase(rng, thing) for thing in layout.things[: layout.num_related])
    rest = layout.things[layout.num_related :]
    converse = CONVERSE.get(layout.relation)
    text = form.format(
        first=first,
        second=others[0],
        relation=f"{_pick(rng, _PHRASES[layout.relation])} {' and '.join(others)}",
        converse=f"{_pick(rng, _PHRASES[converse])} {first}" if converse else "",
        all=f"{', '.join([first, *others[:-1]])} and {others[-1]}",
        rest=_noun_phrase(rng, rest[0]) if len(rest) == 1 else f"{_NUMBERS[len(rest)]} small objects",
        number=_NUMBERS[len(layout.things)],
        place=_pick(rng, _PLACES[layout.background]),
    )
    return f"{text[0].upper()}{text[1:]}."


def _noun_phrase(rng: np.random.Generator | None, thing: Thing) -> str:
    size, noun = _pick(rng, _SIZE_WORDS[thing.size]), _pick(rng, _nouns(thing.category))
    words = " ".join(filter(None, (size, thing.colour, noun)))
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _nouns(category: str) -> tuple[str, ...]:
    return _NOUNS.get(category, (category,))


_ALL_NOUNS = {noun for category in SHAPES for noun in _nouns(category)}
_COLOUR_AND_SHAPE = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(sorted(_ALL_NOUNS))})\b")


def _pick(rng: np.random.Generator | None, options: Sequence[str]) -> str:
    """Draw one of the options; without a generator, take the first, which is the most usual."""
    return options[0 if rng is None else int(rng.integers(len(options)))]
