"""A changed scene differs in one fact alone, in its pixels and in its captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captioning.data.scenes import generate_scene
from captioning.data.scenes.changes import FACTS, ChangedScene, change_scene
from captioning.data.scenes.layout import Layout
from captioning.data.scenes.scene import Scene
from captioning.errors import InputError
from tests.data.scenes.test_language import Reading

SIZE = 61
NUM_SCENES = 23


def changed(fact: str, count: int = NUM_SCENES) -> list[ChangedScene]:
    pairs = (change_scene(fact, 3, "val", index, SIZE) for index in range(count))
    found = [pair for pair in pairs if pair is not None]
    assert len(found) >= 5
    return found


def layout_of(scene: Scene) -> Layout:
    return Layout(scene.background, scene.relation, scene.objects)


def is_true(caption: str, scene: Scene) -> bool:
    try:
        return not Reading(caption, layout_of(scene)).left_over
    except AssertionError:
        return False


@pytest.mark.parametrize("fact", FACTS)
def test_the_scene_before_is_the_generated_one(fact: str) -> None:
    for pair in changed(fact):
        generated = generate_scene(3, "val", pair.before.image_id % 1_000_000, SIZE)
        assert (pair.fact, pair.after.image_id) == (fact, pair.before.image_id)
        assert pair.before.image.tobytes() == generated.image.tobytes()
        assert replace(pair.before, image=generated.image) == generated


@pytest.mark.parametrize("fact", FACTS)
def test_all_captions_are_true_of_their_own_scene(fact: str) -> None:
    for pair in changed(fact):
        assert len(set(pair.after.captions)) == 5
        for scene, own in ((pair.before, pair.captions[0]), (pair.after, pair.captions[1])):
            assert all(is_true(caption, scene) for caption in (*scene.captions, own))


@pytest.mark.parametrize("fact", FACTS)
def test_the_two_captions_differ_in_the_words_of_the_fact(fact: str) -> None:
    """A list that leaves an object out is true too, so "absence" has one caption that is false of the other scene."""
    for pair in changed(fact):
        first, second = (caption.lower().rstrip(".").split() for caption in pair.captions)
        assert not is_true(pair.captions[0], pair.after)
        assert is_true(pair.captions[1], pair.before) == (fact == "absence")
        if fact == "absence":
            assert first[: len(second)] == second and first[len(second)] == "with"
            continue
        differ = [set(own) for own in zip(first, second, strict=True) if own[0] != own[1]]
        assert len([own for own in differ if own != {"a", "an"}]) == 1


def test_a_colour_changes_to_one_that_no_object_has() -> None:
    for pair in changed("colour"):
        (first, *others), (new, *same) = pair.before.objects, pair.after.objects
        assert others == same and replace(new, colour=first.colour) == first
        assert new.colour not in {thing.colour for thing in pair.before.objects}
    assert len({pair.after.objects[0].colour for pair in changed("colour")}) > 3


def test_mirrored_positions_reverse_the_relation_and_nothing_else() -> None:
    relations = set()
    for pair in changed("relation", count=70):
        relations.add((pair.before.relation, pair.after.relation))
        axis = int(pair.before.relation in ("above", "below"))
        for thing, new in zip(pair.before.objects, pair.after.objects, strict=True):
            assert replace(new, box=thing.box, centre=thing.centre) == thing
            assert new.box[axis] == pytest.approx(1 - thing.box[axis] - thing.box[axis + 2])
            assert new.box[1 - axis] == thing.box[1 - axis]
            corners = np.concatenate(new.silhouette())
            np.testing.assert_allclose([*corners.min(0), *np.ptp(corners, axis=0)], new.box, atol=1e-9)
    assert relations == {("left of", "right of"), ("right of", "left of"), ("above", "below"), ("below", "above")}


@pytest.mark.parametrize("fact", ["count", "absence"])
def test_the_last_object_is_gone(fact: str) -> None:
    numbers = set()
    for pair in changed(fact, count=60):
        assert pair.before.objects[:-1] == pair.after.objects
        related = layout_of(pair.before).num_related
        numbers.add(len(pair.before.objects) - related)
        assert len(pair.after.objects) >= related
    assert numbers == ({1} if fact == "absence" else {1, 2, 3})


def test_pixels_change_only_where_the_changed_object_is() -> None:
    """Apart from shades, which may change by some levels of 255: their noise is drawn in the order of painting."""
    for pair in changed("count") + changed("colour"):
        thing = pair.before.objects[0 if pair.fact == "colour" else -1]
        before, after = (np.asarray(scene.image, dtype=int) for scene in (pair.before, pair.after))
        far = np.abs(before - after).max(axis=2) > 30
        left, top, width, height = (value * SIZE for value in thing.box)
        rows, columns = np.nonzero(far)
        assert len(rows)
        assert columns.min() >= left - 2 and columns.max() <= left + width + 4  # the shadow falls to the right
        assert rows.min() >= top - 2 and rows.max() <= top + height + 4


def test_a_scene_without_the_fact_is_not_changed() -> None:
    for index in range(NUM_SCENES):
        scene = generate_scene(3, "val", index, SIZE)
        others = len(scene.objects) - layout_of(scene).num_related
        assert (change_scene("count", 3, "val", index, SIZE) is None) == (others == 0)
        assert (change_scene("absence", 3, "val", index, SIZE) is None) == (others != 1)
        no_axis = scene.relation in ("between", "in front of", "behind")
        assert (change_scene("relation", 3, "val", index, SIZE) is None) == no_axis


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(InputError, match="colour, relation, count, absence, found 'size'"):
        change_scene("size", 0, "val", 0)
