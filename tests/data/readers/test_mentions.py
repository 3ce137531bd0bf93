"""Mentions of objects in captions: the rows that they name, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioning.data.example import Mention
from captioning.data.readers.coco import read_coco
from captioning.data.readers.mentions import read_mentions
from captioning.data.scenes import generate_scene, write_scenes
from captioning.data.scenes.language import find_mentions
from captioning.errors import InputError

ROWS = {71: 0, 72: 1, 75: 2}
RED = {"begin": 2, "end": 5, "kind": "colour", "instances": [75, 71]}


def caption(*mentions: Any) -> dict[str, Any]:
    return {"id": 70, "caption": "A red ball.", "mentions": list(mentions)}


def test_ids_become_rows_and_captions_are_counted() -> None:
    plain = {"id": 69, "caption": "A ball."}
    assert read_mentions([plain, caption(RED)], ROWS, "file") == (Mention(1, 2, 5, "colour", (2, 0)),)
    assert read_mentions([plain, caption()], ROWS, "file") == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"end": 12}, "file: caption 70: expected a mention within its 11 characters, found 2 to 12"),
        ({"begin": 5}, "found 5 to 5"),
        ({"begin": -1}, "found -1 to 5"),
        ({"begin": "2"}, "file: caption 70 is damaged, or of another kind: Expected `int`, got `str`"),
        ({"instances": [71, 73]}, "expected a mention of objects of its image, found the instances 73; give"),
        ({"instances": []}, "found the instances none"),
        ({"kind": None}, "Expected `str`, got `null`"),
    ],
)
def test_a_mention_that_is_none_of_the_image_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_mentions([caption({**RED, **changed})], ROWS, "file")


def test_scenes_are_read_with_the_mentions_that_they_were_written_with(tmp_path: Path) -> None:
    write_scenes(tmp_path, seed=3, num_train=1, num_val=3, num_test=1, size=32)
    captions, instances = (tmp_path / "annotations" / f"{kind}_val2017.json" for kind in ("captions", "instances"))
    for index, image in enumerate(read_coco(captions, tmp_path / "val2017", instances)):
        scene = generate_scene(3, "val", index, 32)
        assert image.mentions == find_mentions(scene.captions, scene.objects)
        assert all(image.objects[row].category for mention in image.mentions for row in mention.objects)
    assert not any(image.mentions for image in read_coco(captions, tmp_path / "val2017"))

    content = json.loads(captions.read_text())  # as written by earlier versions
    for annotation in content["annotations"]:
        del annotation["mentions"]
    captions.write_text(json.dumps(content))
    old = read_coco(captions, tmp_path / "val2017", instances)
    assert [len(image.objects) for image in old] == [len(generate_scene(3, "val", i, 32).objects) for i in range(3)]
    assert not any(image.mentions for image in old)
