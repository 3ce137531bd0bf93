"""Read COCO captions and objects from the official annotation files with pycocotools.

Source: Chen et al. 2015, "Microsoft COCO Captions" (arXiv:1504.00325); objects from Lin et al. 2014
(arXiv:1405.0312).

    annotations/captions_{train,val}{2014,2017}.json     train2014/ ... val2017/
    annotations/instances_{train,val}{2014,2017}.json
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from captioning.data.example import CaptionedImage, SceneObject
from captioning.data.image_files import require_files
from captioning.data.readers.karpathy import read_karpathy
from captioning.data.readers.mentions import read_mentions
from captioning.errors import InputError, shown
from captioning.files.inside import inside
from captioning.json_files import Record, read_json, records

log = logging.getLogger(__name__)

_Found = dict[int, SceneObject]
"""An image's objects by the ids of their annotations, in annotation order."""


@dataclass(frozen=True)
class Coco:
    """A reader of COCO captions in the official layout, with the official splits or those of Karpathy's JSON.

    Attributes:
        root: the folder that holds `annotations/` and `{train,val,test}{year}/`.
        year: 2014 or 2017.
        karpathy: path of dataset_coco.json, if it is to define the splits (of the images of 2014).
        objects: read the annotated objects too, from the instances files; with `karpathy`, those of 2014.
        hint: the advice in the error message if `root` has no `annotations/`. None: the message names COCO's download
            page.
        name: the data set's name.
    """

    root: str
    year: int = 2017
    karpathy: str | None = None
    objects: bool = False
    hint: str | None = None
    name: str = "coco"

    def read(self, split: str, *, check_files: bool = True) -> list[CaptionedImage]:
        """See `captioning.data.splits.Reader`."""
        root = Path(self.root)
        if self.karpathy is not None:
            images = read_karpathy(self.karpathy, root, split, check_files=check_files)
            return add_objects(images, root) if self.objects else images
        if self.hint is not None and not (root / "annotations").is_dir():
            raise InputError(f"no annotations/ in {root.absolute()}; {self.hint}")
        captions, instances, images_root = coco_files(root, split, self.year)
        return read_coco(captions, images_root, instances if self.objects else None, check_files=check_files)


def coco_files(root: str | Path, split: str, year: int = 2017) -> tuple[Path, Path, Path]:
    """Find a split's files in the official layout.

    Args:
        root: the folder that contains `annotations/` and the image folders.
        split: "train", "val", or another split whose annotations exist.
        year: 2014 or 2017.

    Returns:
        The captions file, which exists; the instances file and the image folder, which may not exist.

    Raises:
        InputError: the captions file does not exist. The message says where to get it.
    """
    root, name = Path(root), f"{split}{year}"
    annotations = root / "annotations"
    captions = annotations / f"captions_{name}.json"
    if not captions.is_file():
        found = ", ".join(sorted(file.name for file in annotations.glob("captions_*.json"))) or "none"
        raise InputError(
            f"{captions}: no such file; captions files found there: {found}; "
            + _how_to_get(f"annotations_trainval{year}.zip (captions and instances of train and val)")
        )
    return captions, annotations / f"instances_{name}.json", root / name


def read_coco(
    captions_json: str | Path,
    images_root: str | Path,
    instances_json: str | Path | None = None,
    *,
    check_files: bool = True,
) -> list[CaptionedImage]:
    """Read a split's captions and, if requested, its annotated objects.

    Args:
        captions_json: a captions file, or a file without annotations such as a test set's image_info file, whose
            images are returned without captions.
        images_root: the image folder.
        instances_json: the instances file of the same images. None leaves `objects` and `mentions` empty.
        check_files: whether to check that every image file exists.

    Returns:
        The images in the file's order. `image_id` is COCO's integer. Captions and objects are in annotation order.
        Crowd regions count as objects. Boxes are clipped to the image.

    Raises:
        InputError: a file is missing or is no COCO file, a caption is empty or belongs to no image, some images have no
            caption, the instances file lacks some of the images, a mention is none of an object of its image, or a file
            name leads out of `images_root`.
    """
    captions_json, images_root = Path(captions_json), Path(images_root)
    captions = _index(
        captions_json,
        {"images": {"file_name": str}, "annotations": {"image_id": int, "caption": str}},
    )
    _check_captions(captions, captions_json)
    paths = {i: inside(images_root, image["file_name"], captions_json) for i, image in captions.imgs.items()}
    if check_files:
        if not images_root.is_dir():
            raise InputError(f"{images_root}: no such folder of images; {_how_to_get(f'{images_root.name}.zip')}")
        require_files(list(paths.values()), captions_json)
    objects = {} if instances_json is None else _read_objects(Path(instances_json), str(captions_json), list(paths))
    return [
        _captioned(image_id, path, captions.imgToAnns.get(image_id, ()), objects.get(image_id), str(captions_json))
        for image_id, path in paths.items()
    ]


def _captioned(
    image_id: int, path: Path, annotations: Sequence[Record], objects: _Found | None, file: str
) -> CaptionedImage:
    """Join an image's captions with its objects; without objects, mentions of objects are not read."""
    image = CaptionedImage(image_id, path, tuple(annotation["caption"] for annotation in annotations))
    if objects is None:
        return image
    rows = {annotation_id: row for row, annotation_id in enumerate(objects)}
    return replace(image, objects=tuple(objects.values()), mentions=read_mentions(annotations, rows, file))


def add_objects(images: Sequence[CaptionedImage], root: str | Path) -> list[CaptionedImage]:
    """Add annotated objects to images of any split of COCO, such as Karpathy's.

    Args:
        images: images with COCO's ids. The folder of each, such as `val2014`, determines its instances file.
        root: the folder that contains `annotations/`.

    Returns:
        The images in the same order, with objects as in `read_coco`.

    Raises:
        InputError: an instances file is missing, is no COCO file, or lacks some of the images.
    """
    folders: dict[str, list[int | str]] = {}
    for image in images:
        folders.setdefault(image.path.parent.name, []).append(image.image_id)
    objects: dict[int | str, _Found] = {}
    for folder, image_ids in folders.items():
        file = Path(root) / "annotations" / f"instances_{folder}.json"
        if not file.is_file():
            raise InputError(
                f"{file}: no such file, expected the objects of the {len(image_ids):,} images in {folder}/; "
                + _how_to_get("annotations_trainval2014.zip")
            )
        objects |= _read_objects(file, f"{folder}/", image_ids)
    return [replace(image, objects=tuple(objects[image.image_id].values())) for image in images]


def _index(file: Path, lists: Mapping[str, Mapping[str, type]]) -> COCO:
    """Read lists of a COCO file, check their fields and ids, and index them with pycocotools."""
    data = read_json(file, drop=("segmentation",))  # polygons are nine tenths of an instances file
    data.setdefault("annotations", [])
    coco = COCO()
    coco.dataset = {key: records(data, key, {"id": int, **fields}, str(file)) for key, fields in lists.items()}
    for key, found in coco.dataset.items():
        doubled = [i for i, count in Counter(record["id"] for record in found).items() if count > 1]
        if doubled:
            raise InputError(f"{file}: {key} with the same id: {_some(doubled)}; ids must be unique")
    with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints its progress
        coco.createIndex()
    return coco


def _check_captions(captions: COCO, file: Path) -> None:
    unknown = [image_id for image_id in captions.imgToAnns if image_id not in captions.imgs]
    if unknown:
        raise InputError(f"{file}: captions of images that are not in it: {_some(unknown)}; get the file again")
    empty = [a["image_id"] for a in captions.anns.values() if not a["caption"].strip()]
    if empty:
        raise InputError(f"{file}: empty captions of images {_some(empty)}; remove these captions")
    bare = [image_id for image_id in captions.imgs if image_id not in captions.imgToAnns]
    if bare and captions.anns:
        raise InputError(f"{file}: of {len(captions.imgs):,} images some have no caption: {_some(bare)}; remove them")
    if bare:
        log.info("%s: no annotations: %d images without captions", file, len(bare))


def _read_objects(file: Path, source: str, image_ids: Sequence[int | str]) -> dict[int | str, _Found]:
    instances = _index(
        file,
        {
            "images": {"width": int, "height": int},
            "annotations": {"image_id": int, "category_id": int, "bbox": list},
            "categories": {"name": str},
        },
    )
    missing = [image_id for image_id in image_ids if image_id not in instances.imgs]
    if missing:
        raise InputError(
            f"{file}: of the {len(image_ids):,} images of {source} it lacks {_some(missing)}; "
            "give the instances file of the same split and year"
        )
    names = {category_id: category["name"] for category_id, category in instances.cats.items()}
    annotations = [a for image_id in image_ids for a in instances.imgToAnns.get(image_id, ())]
    unknown = sorted({a["category_id"] for a in annotations} - names.keys())
    if unknown:
        raise InputError(f"{file}: annotations of categories that are not in it: {_some(unknown)}")
    boxes = _as_fractions(file, annotations, instances.imgs)
    objects: dict[int | str, _Found] = {image_id: {} for image_id in image_ids}
    for annotation, (left, top, width, height) in zip(annotations, boxes, strict=True):
        found = SceneObject(names[annotation["category_id"]], (left, top, width, height))
        objects[annotation["image_id"]][annotation["id"]] = found
    return objects


def _as_fractions(file: Path, annotations: list[Record], images: dict[int, Record]) -> list[list[float]]:
    """Convert boxes (left, top, width, height) from pixels to fractions of the image, and clip them to it."""
    wrong = [a["id"] for a in annotations if len(a["bbox"]) != 4 or not all(map(_is_number, a["bbox"]))]
    if wrong:
        raise InputError(f"{file}: 'bbox' is not four numbers in annotations {_some(wrong)}")
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    pixels = [images[a["image_id"]][side] for a in annotations for side in ("width", "height")]
    sizes = np.array([size if _is_number(size) else -1 for size in pixels]).reshape(-1, 2)
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1) | (sizes <= 0).any(axis=1)
    if bad.any():
        ids = [annotations[i]["id"] for i in np.flatnonzero(bad)]
        raise InputError(f"{file}: box or image with an impossible size in annotations {_some(ids)}")
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    # COCO's own boxes exceed the image only by rounding
    outside = (np.maximum(-start, end - sizes) > 1).any(axis=1).sum()
    if outside:
        log.warning("%s: %d boxes exceed the image by more than a pixel and were clipped", file, outside)
    start, end = (start / sizes).clip(0, 1), (end / sizes).clip(0, 1)
    fractions: list[list[float]] = np.concatenate([start, end - start], axis=1).tolist()
    return fractions


def _is_number(value: object) -> bool:
    """Say whether a value is a number that float64 holds; JSON has whole numbers of any length."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _some(ids: Sequence[int | str]) -> str:
    return f"{', '.join(map(shown, ids[:5]))}{', ...' if len(ids) > 5 else ''} ({len(ids):,})"


def _how_to_get(archive: str) -> str:
    return f"download {archive} from https://cocodataset.org/#download and unpack it into the data set's folder"
