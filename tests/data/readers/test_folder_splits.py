"""Splits from columns, lists and seeds: each image is in one, and identical images are together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captioning.data.readers.caption_rows import CaptionRow
from captioning.data.readers.folder_splits import identical, listed_splits, made_splits, named_splits, read_lists
from captioning.data.readers.image_names import ImageNames
from captioning.errors import InputError

SHARES = {"val_share": 0.15, "test_share": 0.15}


def row(split: str | None, place: str = "a.csv:2") -> CaptionRow:
    return CaptionRow(place, "a.jpg", ("A dog",), split)


@given(
    names=st.lists(st.text(min_size=1, max_size=3), unique=True, min_size=3, max_size=60),
    groups=st.lists(st.integers(1, 3), max_size=5),
    seed=st.integers(0, 9),
    val=st.floats(0.01, 0.4),
    test=st.sampled_from([0.0, 0.1, 0.3]),
    order=st.randoms(use_true_random=False),
)
def test_made_splits_have_each_image_once_and_identical_images_together(
    names: list[str], groups: list[int], seed: int, val: float, test: float, order: object
) -> None:
    left = iter(sorted(names))
    copies = [group for size in groups if len(group := [n for _, n in zip(range(size), left, strict=False)]) > 1]
    assume(len(names) - sum(map(len, copies)) + len(copies) >= 3 + max(map(len, copies), default=0))
    assume(len(names) * (1 - val - test) > 4 + 3)
    shares = {"val_share": val, "test_share": test}
    splits = made_splits(names, copies, seed=seed, **shares)
    assert list(splits) == names
    sizes = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
    largest = max(map(len, copies), default=1)
    for split, share in (("val", val), ("test", test)):
        expected = max(1, round(share * len(names))) if share else 0
        assert expected <= sizes[split] < expected + largest
    assert all(len({splits[name] for name in group}) == 1 for group in copies)
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert made_splits(shuffled, copies, seed=seed, **shares) == splits


def test_forty_images_make_28_6_and_6_which_another_seed_changes() -> None:
    names = [f"{n}.jpg" for n in range(40)]
    splits = made_splits(names, [], seed=1, **SHARES)
    assert [list(splits.values()).count(split) for split in ("train", "val", "test")] == [28, 6, 6]
    assert splits != made_splits(names, [], seed=2, **SHARES)


@pytest.mark.parametrize(("names", "copies"), [(["a"], []), (["a", "b"], []), (["a", "b", "c"], [["a", "b", "c"]])])
def test_too_few_different_images_are_refused(names: list[str], copies: list[list[str]]) -> None:
    with pytest.raises(InputError, match=r"different images with captions are too few for the splits"):
        made_splits(names, copies, seed=1, **SHARES)


@pytest.mark.parametrize("name", ["val", "Val", " dev ", "valid", "validation"])
def test_a_split_may_have_any_usual_name(name: str) -> None:
    assert named_splits([("a.jpg", row(name)), ("a.jpg", row("val"))]) == {"a.jpg": "val"}


def test_rows_without_splits_name_none() -> None:
    assert named_splits([("a.jpg", row(None))]) == {}


def test_an_image_in_two_splits_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.csv:3: a\.jpg is in test, and in train before"):
        named_splits([("a.jpg", row("train")), ("a.jpg", row("test", "a.csv:3"))])


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.csv:2: no split 'holdout'; expected train, val or test"):
        named_splits([("a.jpg", row("holdout"))])


def test_lists_name_the_splits_of_images(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\n\nb.jpg\n")
    (tmp_path / "val.txt").write_text("c.jpg")
    names = ["a.jpg", "b.jpg", "c.jpg", "test.jpg"]
    (tmp_path / "test.txt").write_text("the caption of test.jpg")
    lists = read_lists(tmp_path, names)
    assert lists == {"train": ["a", "b.jpg"], "val": ["c.jpg"]}
    captions = dict.fromkeys(names)
    expected = {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val"}
    assert listed_splits(lists, ImageNames(tmp_path, names), captions) == expected


def test_a_listed_image_needs_captions_and_one_list(tmp_path: Path) -> None:
    images = ImageNames(tmp_path, ["a.jpg", "b.jpg"])
    with pytest.raises(InputError, match=r"train\.txt: b\.jpg has no caption"):
        listed_splits({"train": ["b.jpg"]}, images, {"a.jpg": None})
    with pytest.raises(InputError, match=r"val\.txt: a is also in train\.txt"):
        listed_splits({"train": ["a.jpg"], "val": ["a"]}, images, {"a.jpg": None})


def test_identical_files_are_grouped_by_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"11")):
        (tmp_path / name).write_bytes(content)
    assert identical(tmp_path, ["a", "b", "c", "d"]) == [["a", "c"]]
