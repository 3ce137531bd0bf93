"""A scene depends only on its seed, split and index."""

import hashlib
import subprocess
import sys

import pytest

from captioning.data.scenes import Scene, generate_scene
from captioning.errors import InputError


def digest(scene: Scene) -> str:
    content = repr((scene.image_id, scene.background, scene.relation, scene.objects, scene.captions))
    return hashlib.sha256(scene.image.tobytes() + content.encode()).hexdigest()


def test_the_same_arguments_give_the_same_scene_in_any_order() -> None:
    forwards = [digest(generate_scene(7, "val", index, 48)) for index in range(5)]
    backwards = [digest(generate_scene(7, "val", index, 48)) for index in reversed(range(5))]
    assert forwards == backwards[::-1]


def test_the_same_arguments_give_the_same_scene_in_another_process() -> None:
    code = """
import hashlib
from captioning.data.scenes import generate_scene
for index in (2, 0):
    scene = generate_scene(7, "test", index, 48)
    content = repr((scene.image_id, scene.background, scene.relation, scene.objects, scene.captions))
    print(hashlib.sha256(scene.image.tobytes() + content.encode()).hexdigest())
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == [digest(generate_scene(7, "test", index, 48)) for index in (2, 0)]


def test_another_seed_split_or_index_gives_another_scene() -> None:
    arguments = [(s, split, i) for s in (0, 1) for split in ("train", "val", "test") for i in (0, 1)]
    scenes = [generate_scene(*argument, 32) for argument in arguments]
    assert len({scene.captions for scene in scenes}) == len({scene.image.tobytes() for scene in scenes}) == 12


def test_objects_and_captions_do_not_depend_on_the_size_in_pixels() -> None:
    small, large = generate_scene(0, "train", 4, 32), generate_scene(0, "train", 4, 200)
    assert (small.objects, small.captions) == (large.objects, large.captions)
    assert (small.image.size, large.image.size) == ((32, 32), (200, 200))


def test_image_ids_are_unique_over_splits() -> None:
    last = [generate_scene(0, split, 999_999, 32).image_id for split in ("train", "val", "test")]
    first = [generate_scene(0, split, 0, 32).image_id for split in ("train", "val", "test")]
    assert first == [1_000_000, 2_000_000, 3_000_000]
    assert last == [1_999_999, 2_999_999, 3_999_999]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "dev", 0, 96), "splits train, val, test, found 'dev'"),
        ((-1, "train", 0, 96), "seed must be at least 0, found -1"),
        ((0, "train", 1_000_000, 96), "index must be from 0 to 999999, found 1000000"),
        ((0, "train", 0, 8), "size must be from 32 to 1024, found 8"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: tuple[int, str, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate_scene(*arguments)
