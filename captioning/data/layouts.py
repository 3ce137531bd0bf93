"""The annotated objects of a split as tensors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from captioning.data.example import CaptionedImage
from captioning.encoders.features import Objects
from captioning.errors import InputError

log = logging.getLogger(__name__)


def categories(images: Sequence[CaptionedImage]) -> list[str]:
    """The names of all categories in `images`, in alphabetical order.

    Raises:
        InputError: there is no object at all.
    """
    names = sorted({thing.category for image in images for thing in image.objects})
    if not names:
        raise InputError(
            f"this decoder reads the objects of a picture, but none of the {len(images)} training images has any; "
            "add data.objects=true to a data set with annotated objects, such as scenes or coco2017"
        )
    return names


class Layouts:
    """What stands where in each picture of a split, in the annotation's order.

    Args:
        images: the split.
        categories: names, in the order of their ids. Objects of other categories are left out, and counted in the log.
        max_objects: of one picture; later ones are left out, and counted in the log.
    """

    def __init__(self, images: Sequence[CaptionedImage], categories: Sequence[str], *, max_objects: int = 96) -> None:
        ids = {name: i for i, name in enumerate(categories)}
        known = [[(ids[o.category], o.box) for o in image.objects if o.category in ids] for image in images]
        self._objects = [own[:max_objects] for own in known]
        unknown = sum(len(image.objects) for image in images) - sum(map(len, known))
        cut = sum(len(own) > max_objects for own in known)
        bare = sum(not own for own in self._objects)
        if unknown or cut or bare:
            log.warning(
                "objects of %d images: %d of categories that training never saw are left out, %d images have more than "
                "%d and are cut, %d have none",
                len(images),
                unknown,
                cut,
                max_objects,
                bare,
            )

    def __getitem__(self, rows: Sequence[int]) -> Objects:
        """The objects of the images in these rows."""
        found = [self._objects[row] for row in rows]
        most = max(1, *map(len, found)) if found else 1
        categories = torch.zeros(len(found), most, dtype=torch.int64)
        boxes, mask = torch.zeros(len(found), most, 4), torch.zeros(len(found), most, dtype=torch.bool)
        for row, own in enumerate(found):
            for place, (category, box) in enumerate(own):
                categories[row, place], boxes[row, place], mask[row, place] = category, torch.tensor(box), True
        return Objects(categories, boxes, mask)
