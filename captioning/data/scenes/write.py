"""Write scenes in the layout of COCO 2017, which every COCO reader can read."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from captioning.data.scenes.language import find_mentions
from captioning.data.scenes.scene import (
    MAX_IMAGES,
    MAX_SIZE,
    MIN_SIZE,
    SPLITS,
    Scene,
    check_range,
    generate_scene,
)
from captioning.data.scenes.shapes import SHAPES
from captioning.errors import InputError, shown
from captioning.files.atomic import new_folder
from captioning.json_files import read_typed

log = logging.getLogger(__name__)

FORMAT = 2  # increase it when the same settings give other files than before
WITHOUT_MENTIONS = 1  # the same images, captions and boxes, which are read as before
SETTINGS_FILE = "scenes.json"

_CATEGORY_IDS = {name: number for number, name in enumerate(SHAPES, start=1)}
_PART = 100  # scenes that a process draws per task
_Drawn = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
_MAX_OBJECTS = 10  # more than any scene has, so that annotation ids of two images do not overlap


def write_scenes(
    root: str | Path,
    *,
    seed: int = 0,
    num_train: int = 4000,
    num_val: int = 200,
    num_test: int = 400,
    size: int = 96,
    workers: int = 1,
) -> None:
    """Write a data set of scenes. If `root` already holds the same scenes, nothing is done.

    `root` holds the images `{train,val,test}2017/%012d.jpg`, `annotations/captions_*2017.json`,
    `annotations/instances_*2017.json` (boxes in pixels without segmentation; `area` is the area of the box) and the
    settings `scenes.json`. Beside COCO's fields, each caption has `mentions`: its colour and shape words as characters
    `begin` to `end`, their `kind`, and the ids of the `instances` that they describe. Folders of earlier versions lack
    them, and count as the same scenes.

    The folder is renamed to `root` after everything is written. An interrupted run (Ctrl-C) leaves nothing. A killed
    run leaves a hidden folder `.*.partial` beside `root`, which may be deleted.

    Scene i of a split is the same for every `num_train`, `num_val` and `num_test`.

    Args:
        root: a folder that does not exist, is empty, or holds the same scenes.
        seed: the seed of the data set.
        num_train: images in the training split.
        num_val: images in the validation split.
        num_test: images in the test split.
        size: pixels per side.
        workers: number of processes. If it is more than 1, a calling script needs `if __name__ == "__main__":`.

    Raises:
        InputError: an argument is out of its range, `root` holds other files, or `root` cannot be written.
    """
    settings = {"seed": seed, "num_train": num_train, "num_val": num_val, "num_test": num_test, "size": size}
    check_range("seed", seed, 0)
    check_range("size", size, MIN_SIZE, MAX_SIZE)
    for split in SPLITS:
        check_range(f"num_{split}", settings[f"num_{split}"], 1, MAX_IMAGES)
    check_range("workers", workers, 1)
    settings["format"] = FORMAT
    root = Path(root).expanduser().resolve()
    if _is_written(root, settings):
        return
    try:
        with new_folder(root) as folder:
            _write_all(folder, settings, workers)
    except InputError as error:
        if not _is_written(root, settings):  # another process may have written the same scenes meanwhile
            raise InputError(f"{error}; free some space or give a folder that you may write to") from error


def _is_written(root: Path, settings: dict[str, int]) -> bool:
    """Say whether `root` holds these scenes.

    Raises:
        InputError: `root` holds anything else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = read_typed(root / SETTINGS_FILE, dict[str, int])
    except InputError:
        raise InputError(
            f"{root}: expected a new or empty folder, or one with scenes, found other files and no readable "
            f"{SETTINGS_FILE}; give another folder"
        ) from None
    if found == settings | {"format": WITHOUT_MENTIONS}:
        log.info("%s: scenes of an earlier version, without mentions; delete the folder to write them anew", root)
    elif found != settings:
        raise InputError(
            f"{root}: expected scenes with the settings {json.dumps(settings)}, found {shown(found, 120)}; "
            "give another folder or delete this one"
        )
    return True


def _write_all(folder: Path, settings: dict[str, int], workers: int) -> None:
    (folder / "annotations").mkdir(parents=True)
    counts = {split: settings[f"num_{split}"] for split in SPLITS}
    with Progress(console=Console(stderr=True)) as progress, _processes(workers) as map_:
        task = progress.add_task("Drawing scenes", total=sum(counts.values()))
        for split, count in counts.items():
            images = folder / f"{split}2017"
            images.mkdir()
            parts = [range(start, min(start + _PART, count)) for start in range(0, count, _PART)]
            drawn = []
            for part in map_(partial(_draw, images, split, settings["seed"], settings["size"]), parts):
                progress.advance(task, len(part))
                drawn += part
            _write_annotations(folder / "annotations", split, drawn, settings)
    _write_json(folder / SETTINGS_FILE, settings)


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Iterable[list[_Drawn]]]]:
    """Provide `map` over this number of processes; one worker means this process."""
    if workers == 1:
        yield map
        return
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)  # also after an error; tasks that have not started are dropped


def _draw(folder: Path, split: str, seed: int, size: int, indices: range) -> list[_Drawn]:
    """Write the images of some scenes and return their entries in the annotation files."""
    drawn = []
    for index in indices:
        scene = generate_scene(seed, split, index, size)
        name = f"{scene.image_id:012d}.jpg"
        # No chroma subsampling, so that small objects keep their colours.
        scene.image.save(folder / name, quality=92, subsampling=0)
        image = {"id": scene.image_id, "file_name": name, "width": size, "height": size}
        drawn.append((image, _caption_annotations(scene), _instance_annotations(scene, size)))
    return drawn


def _write_annotations(folder: Path, split: str, drawn: Sequence[_Drawn], settings: dict[str, int]) -> None:
    head = {
        "info": {"description": f"Scenes, {split}, seed {settings['seed']}", "version": str(FORMAT)},
        "licenses": [],
        "images": [image for image, _, _ in drawn],
    }
    categories = [{"supercategory": "object", "id": i, "name": name} for name, i in _CATEGORY_IDS.items()]
    captions = [caption for _, of_image, _ in drawn for caption in of_image]
    instances = [instance for _, _, of_image in drawn for instance in of_image]
    _write_json(folder / f"captions_{split}2017.json", {**head, "annotations": captions})
    _write_json(
        folder / f"instances_{split}2017.json",
        {**head, "annotations": instances, "categories": categories},
    )


def _caption_annotations(scene: Scene) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = [
        {"image_id": scene.image_id, "id": _annotation_id(scene, number), "caption": caption, "mentions": []}
        for number, caption in enumerate(scene.captions)
    ]
    for word in find_mentions(scene.captions, scene.objects):
        instances = [_annotation_id(scene, number) for number in word.objects]
        mention = {"begin": word.begin, "end": word.end, "kind": word.kind, "instances": instances}
        annotations[word.caption]["mentions"].append(mention)
    return annotations


def _instance_annotations(scene: Scene, size: int) -> list[dict[str, Any]]:
    return [
        {
            "image_id": scene.image_id,
            "id": _annotation_id(scene, number),
            "category_id": _CATEGORY_IDS[thing.category],
            "bbox": [round(value * size, 2) for value in thing.box],
            "area": round(thing.box[2] * thing.box[3] * size**2, 2),
            "iscrowd": 0,
        }
        for number, thing in enumerate(scene.objects)
    ]


def _annotation_id(scene: Scene, number: int) -> int:
    return scene.image_id * _MAX_OBJECTS + number


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")  # in a folder that appears as a whole
