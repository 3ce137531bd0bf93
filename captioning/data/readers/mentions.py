"""Read which objects the words of captions mention, from an extra field of COCO's caption annotations.

    {"image_id": 7, "id": 70, "caption": "A red ball.",
     "mentions": [{"begin": 2, "end": 5, "kind": "colour", "instances": [71]}, ...]}

The field is this package's own. The generated scenes have it, and COCO has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from captioning.data.example import Mention
from captioning.errors import InputError, shown
from captioning.json_files import Record, typed


class _Mention(msgspec.Struct):
    begin: int
    end: int
    kind: str
    instances: list[int]


def read_mentions(captions: Sequence[Record], rows: Mapping[int, int], where: str) -> tuple[Mention, ...]:
    """Read the mentions of one image's captions.

    Args:
        captions: the image's caption annotations, in the order of its captions; `mentions` is optional.
        rows: the row of each of the image's objects, by the id of its annotation.
        where: the file, for messages.

    Raises:
        InputError: a mention has another form, is no part of its caption, or names an object that the image has not.
    """
    return tuple(
        _mention(mention, number, annotation, rows, f"{where}: caption {annotation['id']}")
        for number, annotation in enumerate(captions)
        for mention in typed(annotation.get("mentions", []), list[_Mention], f"{where}: caption {annotation['id']}")
    )


def _mention(mention: _Mention, number: int, annotation: Record, rows: Mapping[int, int], where: str) -> Mention:
    if not 0 <= mention.begin < mention.end <= len(annotation["caption"]):
        raise InputError(
            f"{where}: expected a mention within its {len(annotation['caption'])} characters, found {mention.begin} to "
            f"{mention.end}; get the file again"
        )
    unknown = [i for i in mention.instances if i not in rows]
    if unknown or not mention.instances:
        raise InputError(
            f"{where}: expected a mention of objects of its image, found the instances "
            f"{', '.join(map(shown, unknown)) or 'none'}; give the instances file of the same split"
        )
    return Mention(number, mention.begin, mention.end, mention.kind, tuple(rows[i] for i in mention.instances))
