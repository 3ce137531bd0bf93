"""Find image files, and read images of any kind as upright 8-bit RGB."""

from __future__ import annotations

import glob
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from captioning.errors import InputError

log = logging.getLogger(__name__)

# The suffixes that folders and patterns are searched for. A file given by its full name may have any suffix.
IMAGE_SUFFIXES = frozenset(
    [".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)

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
    """Read an image of any common format as upright RGB. Of an animation it reads the first frame.

    Args:
        path: the image's file.

    Returns:
        A loaded RGB image, converted as by `to_rgb`.

    Raises:
        InputError: the file does not exist, is not an image, is damaged or truncated, or exceeds Pillow's limit
            against decompression bombs.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected an image file; name one inside it")
    with _decoding(str(path)), Image.open(path) as image:
        return _upright_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to upright 8-bit RGB.

    The EXIF orientation is applied, transparent pixels become white, and values of more than 8 bits are scaled. Modes I
    and F do not define which value is white. Here it is the smallest of 255 and 65,535 (for F also 1.0) that no value
    exceeds. If there is none, the highest value is white. Negative values and NaN become black.

    Args:
        image: any image, which is not changed. Of an animation, the current frame is converted.

    Returns:
        A new RGB image.

    Raises:
        InputError: the image is read lazily and its file is damaged, or its mode cannot be converted to RGB.
    """
    name = getattr(image, "filename", "") or f"image of mode {image.mode}, {image.width} x {image.height}"
    with _decoding(str(name)):
        return _upright_rgb(image)


def find_images(arguments: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """Expand files, folders and patterns to the paths of images.

    Args:
        arguments: files, folders (for the images directly inside) or patterns with `*`, `?`, `[]`, and `**` for any
            depth. Folders and patterns select images by suffix and skip hidden files.

    Returns:
        The paths without duplicates, in the order of the arguments and sorted within each; and one message for each
        argument without images.
    """
    paths: dict[Path, None] = {}
    problems: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = _only_images(path.iterdir())
            problem = f"{path}: no image in this folder; for images in subfolders give '{path}/**/*.jpg'"
        elif path.exists():
            found, problem = [path], ""
        elif glob.has_magic(str(argument)):
            # pathlib's glob refuses patterns that begin at the root
            found = _only_images(map(Path, glob.glob(str(argument), recursive=True)))  # noqa: PTH207
            problem = f"{argument}: no image matches this pattern"
        else:
            found, problem = [], f"{argument}: no such file or folder"
        paths.update(dict.fromkeys(found))
        if not found:
            problems.append(problem)
    return list(paths), problems


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """List the files that do not exist. It reads each folder once, which is faster than a query for each file."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = _names_in(Path(folder))
        if name not in listings[folder]:
            missing.append(path)
    return missing


def require_files(paths: Sequence[Path], source: Path) -> None:
    """Check that every image file exists.

    Args:
        paths: the images' files.
        source: the file that lists them, for the message.

    Raises:
        InputError: some files do not exist. The message counts them and names the first three.
    """
    missing = missing_files(paths)
    if missing:
        raise InputError(
            f"{source} names {len(paths):,} images, of which {len(missing):,} have no file: "
            f"{', '.join(map(str, missing[:3]))}{', ...' if len(missing) > 3 else ''}; "
            "add them, or set data.features=DIR to use cached features, which need no images"
        )


def _names_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _only_images(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()  # also applies a TIFF's orientation, and reads EXIF data after a PNG's pixels
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    upright = image.copy() if turn is None else image.transpose(turn)
    if upright.mode.startswith(("I", "F")):
        upright = _scaled_to_8_bits(upright)
    elif upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    rgb.info.clear()  # its EXIF orientation must not be applied again
    return rgb


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode.startswith("I;16"):
        white = 65_535.0
    else:
        highest = float(values.max())
        candidates = (1.0, 255.0, 65_535.0) if image.mode == "F" else (255.0, 65_535.0)
        white = next((candidate for candidate in candidates if highest <= candidate), highest)
    return Image.fromarray(np.rint(values.clip(0, white) / white * 255).astype(np.uint8))


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Convert any decoding error to an InputError, and log Pillow's warnings."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file, expected an image") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image, or a damaged one{_what_it_is(name)}; give a JPEG, PNG ...") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: {error}; make the image smaller") from error
    except Exception as error:  # decoders raise anything on damaged bytes: SyntaxError, struct.error, ...
        reason = str(error) or type(error).__name__
        raise InputError(f"{name}: the image cannot be read ({reason}); get the file again or save it again") from error
    for warning in caught:
        log.debug("%s: %s", name, warning.message)


def _what_it_is(name: str) -> str:
    """Describe the start of a file that is no image. It is often a saved web page, or empty."""
    with Path(name).open("rb") as file:
        start = file.read(16)
    return f" (begins with {start!r})" if start else " (the file is empty)"
