"""Reduce a PNG file to what its pixels need, for files whose texts or colour profile Pillow refuses as too large."""

from __future__ import annotations

import io
import struct
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""The keywords of texts that may say how the image is turned."""


def without_texts(file: IO[bytes]) -> io.BytesIO:
    """Copy a PNG file without its texts and its colour profile, which do not change the pixels that are read.

    Texts that may say how the image is turned stay. Nothing is decompressed.

    Args:
        file: a PNG file, complete or not.
    """
    kept = io.BytesIO()
    file.seek(0)
    kept.write(file.read(len(SIGNATURE)))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        keyword = file.read(min(length, 22)) if kind in _TEXTS else b""
        if kind not in _TEXTS or keyword.startswith(_ORIENTATION):
            kept.write(head + keyword)
            kept.write(file.read(length - len(keyword) + 4))  # with the checksum
        else:
            file.seek(length - len(keyword) + 4, io.SEEK_CUR)
    kept.seek(0)
    return kept
