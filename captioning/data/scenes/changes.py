"""Change one fact of a scene, to test whether a captioner reads this fact from the image.

A pair of images differs in one fact, and a pair of captions in the words that state it. A model that reads the fact
finds each caption more probable than the other one for its own image. Winoground (Thrush et al. 2022, arXiv:2204.03162)
tests models with such pairs of photos.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from captioning.data.scenes.language import CONVERSE, describe, usual_caption
from captioning.data.scenes.layout import Layout, Thing
from captioning.data.scenes.render import render
from captioning.data.scenes.scene import Scene, sample_scene, scene_of
from captioning.data.scenes.shapes import COLOURS
from captioning.errors import InputError

_AXES = {"left of": 0, "right of": 0, "above": 1, "below": 1}  # along which mirroring changes the relation


@dataclass(frozen=True, slots=True)
class ChangedScene:
    """A scene, and the same scene with one fact changed.

    Attributes:
        fact: a key of FACTS.
        before: the scene as it is generated.
        after: the same scene after the change. The background and all other details are the same, but the shades
            of colours may differ a little.
        captions: one of `before` and one of `after`, of the same form and with the most usual words. Only the words
            that state the changed fact differ.
    """

    fact: str
    before: Scene
    after: Scene
    captions: tuple[str, str]


def change_scene(fact: str, seed: int, split: str, index: int, size: int = 96) -> ChangedScene | None:
    """Generate a scene and change one fact. The same arguments always give the same pixels and words.

    Args:
        fact: what changes:
            "colour": the first object gets a colour that no object has.
            "relation": all positions are mirrored, so that left becomes right, or above becomes below.
            "count": the last object outside the relation is gone. The captions give the number of objects.
            "absence": the only object outside the relation is gone. The captions list all objects.
        seed: as of `generate_scene`.
        split: as of `generate_scene`.
        index: as of `generate_scene`.
        size: as of `generate_scene`.

    Returns:
        None if the scene does not have what changes: another relation than left, right, above and below, or no object
        (for "absence", more or fewer than one) outside the relation.

    Raises:
        InputError: the fact is unknown, or another argument is out of its range.
    """
    if fact not in FACTS:
        raise InputError(f"expected one of the facts {', '.join(FACTS)}, found {fact!r}; choose one of these")
    change, subject = FACTS[fact]
    layout, rng = sample_scene(seed, split, index, size)
    changed = change(layout, deepcopy(rng))
    if changed is None:
        return None
    words, details = rng, deepcopy(rng)
    describe(layout, details)  # now it paints what `generate_scene` paints
    before, after = (
        scene_of(own, describe(own, deepcopy(words)), render(own, deepcopy(details), size), split, index)
        for own in (layout, changed)
    )
    return ChangedScene(fact, before, after, captions=(usual_caption(layout, subject), usual_caption(changed, subject)))


def _colour(layout: Layout, rng: np.random.Generator) -> Layout:
    first, *others = layout.things
    free = [colour for colour in COLOURS if colour not in {thing.colour for thing in layout.things}]
    return replace(layout, things=(replace(first, colour=free[rng.integers(len(free))]), *others))


def _relation(layout: Layout, _: np.random.Generator) -> Layout | None:
    axis = _AXES.get(layout.relation)
    if axis is None:
        return None
    things = tuple(_mirrored(thing, axis) for thing in layout.things)
    return replace(layout, relation=CONVERSE[layout.relation], things=things)


def _mirrored(thing: Thing, axis: int) -> Thing:
    """Move a thing so that its box is mirrored at the image's middle; the thing itself is not mirrored."""
    box, centre = list(thing.box), list(thing.centre)
    box[axis] = 1 - thing.box[axis] - thing.box[axis + 2]
    centre[axis] += box[axis] - thing.box[axis]
    return replace(thing, box=(box[0], box[1], box[2], box[3]), centre=(centre[0], centre[1]))


def _count(layout: Layout, _: np.random.Generator) -> Layout | None:
    others = len(layout.things) - layout.num_related
    return replace(layout, things=layout.things[:-1]) if others else None


def _absence(layout: Layout, rng: np.random.Generator) -> Layout | None:
    others = len(layout.things) - layout.num_related
    return _count(layout, rng) if others == 1 else None


FACTS: dict[str, tuple[Callable[[Layout, np.random.Generator], Layout | None], str]] = {
    "colour": (_colour, "relation"),
    "relation": (_relation, "relation"),
    "count": (_count, "number"),
    "absence": (_absence, "list"),
}
"""The facts that can be changed, each with its change and with what the captions are about."""
