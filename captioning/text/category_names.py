"""The names of objects' categories in captions: singular, plural, and other names of COCO's classes.

Names are found by their spelling, not by their meaning: the colour "orange" is found like the fruit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FURTHER = {
    "person": "man woman boy girl child kid guy lady baby",
    "motorcycle": "motorbike",
    "airplane": "plane aeroplane",
    "fire hydrant": "hydrant",
    "cat": "kitten",
    "dog": "puppy",
    "cow": "cattle",
    "handbag": "purse",
    "tie": "necktie",
    "sports ball": "ball baseball_ball soccer_ball tennis_ball",
    "baseball bat": "bat",
    "tennis racket": "racket racquet tennis_racquet",
    "hot dog": "hotdog",
    "donut": "doughnut",
    "couch": "sofa",
    "potted plant": "plant",
    "dining table": "table",
    "tv": "television",
    "remote": "remote_control",
    "cell phone": "phone cellphone",
    "refrigerator": "fridge",
    "teddy bear": "teddy",
    "hair drier": "hair_dryer",
}
"""Other names of COCO's classes; a space within a name is written as _."""

_IRREGULAR = {
    "person": ("people", "persons"),
    "man": ("men",),
    "woman": ("women",),
    "child": ("children",),
    "knife": ("knives",),
    "mouse": ("mice",),
    "sheep": (),
    "cattle": (),
    "skis": ("ski",),
    "scissors": (),
    "broccoli": (),
}
"""Other plurals than the regular one; of "skis" the singular."""


class CategoryNames:
    """Finds the names of categories in captions.

    Args:
        categories: the names of the categories; one without a letter is never found. Of COCO's classes, further names
            are known, such as "man" for "person".
    """

    def __init__(self, categories: Iterable[str]) -> None:
        categories = {category for category in categories if re.search(r"\w", category)}
        further = {
            form: category
            for category, names in _FURTHER.items()
            for name in names.split()
            for form in _forms(name.replace("_", " "))
        }
        # "hot dog" is found where there is no such category too, so that it is no "dog". A category's own name comes
        # before the further names of others: a "ball" of the scenes is no "sports ball".
        own = {form: category for category in (*_FURTHER, *sorted(categories)) for form in _forms(category)}
        longest_first = sorted((further | own).items(), key=lambda item: (-len(item[0]), item[0]))
        self._categories = [category for _, category in longest_first]
        # The number of the group that matches says which name it is.
        alternatives = "|".join(f"({re.escape(name)})".replace("\\ ", r"[\s-]+") for name, _ in longest_first)
        self._pattern = re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])", re.IGNORECASE)

    def find(self, caption: str) -> list[tuple[int, int, str]]:
        """Find the names in a caption, from left to right, of several at one character the longest.

        Returns:
            The first character of each, the character after its last, and the category.
        """
        return [
            (*match.span(), self._categories[(match.lastindex or 0) - 1]) for match in self._pattern.finditer(caption)
        ]


def _forms(name: str) -> list[str]:
    """Return the singular and the plurals of a name; the last word of several has the plural."""
    first, space, last = name.rpartition(" ")
    return [name, *(f"{first}{space}{plural}" for plural in _IRREGULAR.get(last.lower(), (_plural(last),)))]


def _plural(noun: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}s"
