"""Scenes are laid out as their relations say."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.data.scenes.layout import BACKGROUNDS, HIDDEN, RELATIONS, SIZES, Layout, Thing, sample_layout
from captioning.data.scenes.shapes import COLOURS, SHAPES

seeds = st.integers(0, 2**32 - 1)


def layout_of(seed: int) -> Layout:
    return sample_layout(np.random.default_rng(seed))


def touch(first: Thing, second: Thing) -> bool:
    a, b = first.box, second.box
    return all(a[i] < b[i] + b[i + 2] + 0.005 and b[i] < a[i] + a[i + 2] + 0.005 for i in (0, 1))


@given(seeds)
def test_two_to_five_objects_of_different_colours_lie_inside_the_image(seed: int) -> None:
    things = layout_of(seed).things
    assert 2 <= len(things) <= 5
    assert len({thing.colour for thing in things}) == len(things)
    for thing in things:
        left, top, width, height = thing.box
        assert left > 0 and top > 0 and left + width < 1 and top + height < 1


@given(seeds)
def test_only_the_related_pair_touches_and_only_in_front_of_or_behind(seed: int) -> None:
    layout = layout_of(seed)
    for first, second in combinations(layout.things, 2):
        related = (first, second) == layout.things[:2]
        assert touch(first, second) == (related and layout.relation in ("in front of", "behind"))


@given(seeds)
def test_only_the_object_behind_another_is_partly_hidden(seed: int) -> None:
    layout = layout_of(seed)
    behind = {"behind": 0, "in front of": 1}.get(layout.relation)
    for index, thing in enumerate(layout.things):
        if index == behind:
            assert HIDDEN[0] <= thing.hidden <= HIDDEN[1]
        else:
            assert thing.hidden == 0


@given(seeds)
def test_the_front_object_is_painted_last_and_not_higher(seed: int) -> None:
    layout = layout_of(seed)
    order = layout.back_to_front
    assert set(order) == set(layout.things)
    if layout.relation in ("in front of", "behind"):
        back, front = sorted(layout.things[:2], key=lambda thing: thing.hidden, reverse=True)
        assert order.index(back) < order.index(front)
        assert front.centre[1] > back.centre[1] - 0.1


@given(seeds)
def test_sizes_can_be_recognized_in_the_image(seed: int) -> None:
    layout = layout_of(seed)
    for thing in layout.things:
        low, high = SIZES[thing.size]
        assert low <= 2 * thing.scale <= high
        if not thing.hidden:
            assert max(thing.box[2:]) == pytest.approx(2 * thing.scale, rel=0.12)  # leaning changes it a little
    related, others = layout.things[: layout.num_related], layout.things[layout.num_related :]
    assert {thing.size for thing in others} <= {"small"}
    if layout.relation == "between":
        assert {thing.size for thing in related} == {"medium"}
    else:
        assert related[0].size == "large"
        assert related[1].size == "medium" or not others


def test_the_ranges_of_sizes_do_not_touch() -> None:
    ranges = sorted(SIZES.values())
    assert all(smaller[1] * 1.25 < larger[0] for smaller, larger in pairwise(ranges))


def test_all_choices_occur_about_equally_often() -> None:
    layouts = [layout_of(seed) for seed in range(1000)]
    things = [thing for layout in layouts for thing in layout.things]
    for found, expected in (
        (Counter(layout.background for layout in layouts), BACKGROUNDS),
        (Counter(layout.relation for layout in layouts), RELATIONS),
        (Counter(thing.category for thing in things), SHAPES),
        (Counter(thing.colour for thing in things), COLOURS),
    ):
        assert set(found) == set(expected)
        assert max(found.values()) < 1.8 * min(found.values())
    assert set(Counter(len(layout.things) for layout in layouts)) == {2, 3, 4, 5}
