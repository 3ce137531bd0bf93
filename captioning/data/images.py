"""Read image files of listed formats as upright 8-bit RGB, in little more memory than their pixels need."""

from __future__ import annotations

import logging
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOBase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import (  # the plug-ins are imported by name, so that Pillow imports no others
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from captioning.data.png import SIGNATURE, without_texts
from captioning.errors import InputError, shown

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
"""The formats that are opened, besides HEIF. All are decoded in this process; for others, such as EPS, Pillow may start
a program."""

DRAFT_PIXELS = 50_000_000
"""JPEG files with more pixels are decoded at a half, a quarter or an eighth of their size."""
DRAFT_SIDE = 2048
"""They are reduced only as far as their shorter side keeps this many pixels."""

LARGEST_STREAM = 2**30
"""Most bytes that are read of what cannot seek, such as a pipe. Images within the limits of pixels rarely have more."""

# In folders and patterns, only files with these suffixes count as images. A file given by its full name may have any
# suffix.
IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()  # noqa: SIM905
)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_COPYING = ("WEBP", "AVIF", "HEIF")
"""Formats whose decoders hold several copies of the image, so that only half as many pixels are allowed."""
_STRIP = 2**22
"""Number of pixels that are converted at a time."""

_FROM_16_BITS = np.rint(np.arange(65_536) / 65_535 * 255).astype(np.uint8)

# By EXIF orientation. ImageOps.exif_transpose also rewrites the whole EXIF block, which fails on photographs with
# invalid tags.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: str | Path) -> Image.Image:
    """Read an image of one of `FORMATS`, or of HEIF, as upright RGB. Of an animation it reads the first frame.

    A JPEG of more than `DRAFT_PIXELS` pixels is decoded at a half, a quarter or an eighth of its size.

    Args:
        path: the image's file.

    Returns:
        A loaded RGB image, converted as by `to_rgb`.

    Raises:
        InputError: the file does not exist, is a folder, pipe or device, is not an image, is damaged or truncated, has
            more than 178.9 million pixels (89.4 million in WebP, AVIF and HEIF; Pillow's limits against decompression
            bombs), or is a HEIF image and pillow-heif is not installed.
    """
    path = Path(path)
    name = shown(path, 200)
    with _decoding(name):
        _require_regular(path, name)
        with path.open("rb") as file:
            return _read(file, name)


def read_image(file: bytes | IO[bytes], name: str) -> Image.Image:
    """Read an image from bytes or from an open binary file, with the formats and limits of `load_image`.

    Args:
        file: the content of an image file, or an open file. A file that can seek is read from its start and put back
            where it was. Of any other, such as a pipe, at most 1 GiB is read.
        name: what messages call it.

    Returns:
        A loaded RGB image, converted as by `to_rgb`.

    Raises:
        InputError: see `load_image`; or the file is closed or opened as text, or a pipe holds more than 1 GiB.
    """
    if isinstance(file, bytes):
        file = BytesIO(file)
    with _decoding(name):
        if getattr(file, "closed", False):
            raise InputError(f"{name} is closed, expected an open file; use it inside its `with` block")
        if isinstance(cast(Any, file), TextIOBase):
            raise InputError(f'{name} is opened as text; open the image with open(path, "rb")')
        return _read_again(file, name) if file.seekable() else _read(_buffered(file, name), name)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to upright 8-bit RGB.

    The EXIF orientation is applied, transparent pixels become white, and values of more than 8 bits are scaled. Modes I
    and F do not define which value is white. Here white is 255 if no value exceeds 255, else 65,535 if no value exceeds
    that, else the highest value. For F, 1.0 is tried before 255. Negative values and NaN become black.

    Args:
        image: any image, which is not changed. If its pixels are not loaded yet, its file is read as by `load_image`,
            and `image` itself stays unloaded. Of an animation, the current frame is converted.

    Returns:
        A new RGB image.

    Raises:
        InputError: the image is not loaded and its file is damaged or has another format than those of `load_image`, or
            its mode cannot be converted to RGB.
    """
    name = shown(getattr(image, "filename", "") or f"image of mode {image.mode}, {image.width} x {image.height}", 200)
    with _decoding(name):
        if (file := _unread_file(image)) is not None:
            if image.format not in (*FORMATS, "MPO", "HEIF"):
                raise InputError(
                    f"{name}: {image.format} images are not read here; load the image first, or convert it"
                )
            if image.tell() == 0:  # leave `image` itself unloaded: a long list of loaded images would fill the memory
                return _read_again(file, name)
        rgb, turn = _converted(image)
        if turn is None:
            return rgb.copy() if rgb.im is image.im else rgb
        return rgb.transpose(turn)


def check_image(path: str | Path) -> None:
    """Check that an image file can be read whole. A JPEG is decoded at an eighth of its size, which takes less time.

    Raises:
        InputError: see `load_image`.
    """
    path = Path(path)
    name = shown(path, 200)
    with _decoding(name):
        _require_regular(path, name)
        with path.open("rb") as file:
            _read(file, name, smallest=True)


def _unread_file(image: Image.Image) -> IO[bytes] | None:
    """Return the file of an image whose pixels are not loaded yet; None if they are."""
    return image.fp if isinstance(image, ImageFile.ImageFile) and (image.tile or image._im is None) else None


def _read_again(file: IO[bytes], name: str) -> Image.Image:
    position = file.tell()
    try:
        return _read(file, name)
    finally:
        file.seek(position)


def _buffered(file: IO[bytes], name: str) -> BytesIO:
    """Read what cannot seek. One call of a pipe's or a socket's `read` may return less than is there."""
    buffer = BytesIO()
    while buffer.tell() <= LARGEST_STREAM:
        if not (block := file.read(min(2**20, LARGEST_STREAM + 1 - buffer.tell()))):
            return buffer
        buffer.write(block)
    raise InputError(f"{name} holds more than {LARGEST_STREAM:,} bytes, expected an image; save it as a file")


def _require_regular(path: Path, name: str) -> None:
    """Refuse what is no regular file before it is opened: opening a pipe may wait for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder, expected an image file; name one inside it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{name} is a pipe, socket or device, expected an image file; save the image as a file")


def _read(file: IO[bytes], name: str, *, smallest: bool = False) -> Image.Image:
    """Decode an image file of an allowed format as upright RGB."""
    file.seek(0)
    start = file.read(64)
    try:
        formats = _formats(start, name)
        try:
            rgb, turn = _decoded(file, formats, smallest=smallest)
        except ValueError:
            if not start.startswith(SIGNATURE):
                raise
            rgb, turn = _decoded(without_texts(file), ("PNG",), smallest=smallest)
    except UnidentifiedImageError as error:
        found = f"begins with {start[:16]!r}" if start else "the file is empty"
        raise InputError(f"{name}: not an image, or a damaged one ({found}); give a JPEG, PNG ...") from error
    return rgb if turn is None else rgb.transpose(turn)


def _formats(start: bytes, name: str) -> tuple[str, ...]:
    """Return the formats to try. HEIF is among them if the file starts like one; it needs the package pillow-heif."""
    if start[4:8] != b"ftyp" or start[8:12] not in _HEIF_BRANDS or b"avif" in start:
        return FORMATS
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{name} is a HEIC image, which needs pillow-heif: pip install 'captioning[heic]', or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _decoded(
    file: IO[bytes], formats: tuple[str, ...], *, smallest: bool
) -> tuple[Image.Image, Image.Transpose | None]:
    with Image.open(file, formats=formats) as image:
        num_pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if image.format in _COPYING and limit is not None and num_pixels > limit:
            raise Image.DecompressionBombError(f"{image.format} size ({num_pixels} pixels) exceeds limit of {limit}")
        if smallest:
            image.draft(None, (1, 1))
        elif num_pixels > DRAFT_PIXELS:
            image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
        return _converted(image)


def _converted(image: Image.Image) -> tuple[Image.Image, Image.Transpose | None]:
    """Load an image and convert it to RGB. It may share its pixels with `image`.

    Returns:
        The image as it is stored, without any metadata, and how to turn it upright.
    """
    image.load()  # also applies a TIFF's orientation, and reads EXIF data after a PNG's pixels
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    rgb = image._new(image.im) if image.mode == "RGB" and not image.has_transparency_data else _rgb_by_strips(image)
    rgb.info.clear()  # its EXIF orientation must not be applied again
    return rgb, turn


def _rgb_by_strips(image: Image.Image) -> Image.Image:
    """Convert a strip at a time, so that intermediate forms, of up to 8 bytes for a value, need little memory."""
    rows = max(1, _STRIP // image.width)
    tops = range(0, image.height, rows)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in tops]
    if image.mode in ("I", "F"):
        white = _white(image.mode, max(float(_values(image.crop(box)).max()) for box in boxes))
    rgb = Image.new("RGB", image.size)
    for box in boxes:
        strip = image.crop(box)
        if image.mode in ("I", "F"):
            strip = Image.fromarray(np.rint(_values(strip).clip(0, white) / white * 255).astype(np.uint8))
        elif image.mode.startswith("I;16"):
            strip = Image.fromarray(_FROM_16_BITS[np.asarray(strip)])
        elif strip.has_transparency_data:
            opaque = Image.new("RGBA", strip.size, "white")
            strip = Image.alpha_composite(opaque, strip.convert("RGBA"))
        rgb.paste(strip.convert("RGB"), box)
    return rgb


def _values(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.nan_to_num(np.asarray(image, dtype=np.float64))


def _white(mode: str, highest: float) -> float:
    """Choose the value that becomes white: see `to_rgb`."""
    candidates = (1.0, 255.0, 65_535.0) if mode == "F" else (255.0, 65_535.0)
    return next((candidate for candidate in candidates if highest <= candidate), highest)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Convert any decoding error to an InputError, and log Pillow's warnings."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file, expected an image") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: {error}; make the image smaller") from error
    except Exception as error:  # decoders raise anything on damaged bytes: SyntaxError, struct.error, ...
        reason = shown(str(error) or type(error).__name__, 100)
        raise InputError(f"{name}: the image cannot be read ({reason}); get the file again or save it again") from error
    for warning in caught:
        log.debug("%s: %s", name, warning.message)
