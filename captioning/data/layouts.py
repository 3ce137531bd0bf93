"""The annotated objects of a split as tensors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from captioning.data.example import CaptionedImage
from captioning.encoders.features import Objects
from captioning.errors import InputError

log = logging.getLogger(__name__)

ASK_FOR_THEM = "add data.objects=true to a data set with annotated objects, such as scenes or coco2017"


def categories(images: Sequence[CaptionedImage]) -> list[str]:
    """List the names of all object categories in `images`, in alphabetical order.

    Raises:
        InputError: no image has an object.
    """
    names = sorted({o.category for image in images for o in image.objects})
    if not names:
        raise InputError(
            f"this model learns from objects, and none of the {len(images)} training images has any; {ASK_FOR_THEM}"
        )
    return names


class Layouts:
    """Store the categories and boxes of the objects of each image of a split, in annotation order.

    The log counts the objects that are left out.

    Args:
        images: the split. At least one image must have objects.
        categories: category names in the order of their ids. Objects of other categories are left out.
        max_objects: largest number of objects of an image. Further objects are left out.

    Raises:
        InputError: no image has an object.
    """

    def __init__(self, images: Sequence[CaptionedImage], categories: Sequence[str], *, max_objects: int = 96) -> None:
        if images and not any(image.objects for image in images):
            raise InputError(f"this model reads objects, and none of the {len(images)} images has any; {ASK_FOR_THEM}")
        ids = {name: i for i, name in enumerate(categories)}
        known = [[(ids[o.category], o.box) for o in image.objects if o.category in ids] for image in images]
        self._categories = [torch.tensor([category for category, _ in own[:max_objects]]).long() for own in known]
        self._boxes = [torch.tensor([box for _, box in own[:max_objects]]).reshape(-1, 4) for own in known]
        unknown = sum(len(image.objects) for image in images) - sum(map(len, known))
        truncated = sum(len(own) > max_objects for own in known)
        empty = sum(not own for own in known)
        if unknown or truncated or empty:
            log.warning(
                "objects of %d images: %d have categories that are not in the training split and are left out; "
                "%d images have more than %d objects, and the rest are left out; %d images have none",
                len(images),
                unknown,
                truncated,
                max_objects,
                empty,
            )

    def __getitem__(self, rows: Sequence[int]) -> Objects:
        """Return the objects of the images in `rows`, padded to the largest number among them."""
        counts = torch.tensor([len(self._categories[row]) for row in rows])
        longest = max(1, int(counts.max()))
        categories = pad_sequence([torch.zeros(longest).long(), *(self._categories[row] for row in rows)], True)[1:]
        boxes = pad_sequence([torch.zeros(longest, 4), *(self._boxes[row] for row in rows)], True)[1:]
        return Objects(categories, boxes, torch.arange(longest) < counts[:, None])
