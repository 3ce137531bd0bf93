"""Images: finding their files, reading them, and turning any kind into upright 8-bit RGB."""

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

# What a folder or a pattern is searched for; a file named in full may have any suffix.
IMAGE_SUFFIXES = frozenset(
    [".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)

# By EXIF orientation. ImageOps.exif_transpose does the same, but then rewrites the whole EXIF block, which
# fails on photographs with any odd tag in it.
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
    """Read an image of any common kind as upright RGB, the first frame where there are several.

    Args:
        path: the image's file.

    Returns:
        A loaded RGB image, converted as by `to_rgb`.

    Raises:
        InputError: no such file, a folder, not an image, damaged or cut short, or larger than Pillow's
            limit against decompression bombs.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected an image file; name one inside it")
    with _decoding(str(path)), Image.open(path) as image:
        return _upright_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into upright 8-bit RGB.

    The EXIF orientation is applied, transparency is laid on white, and values of more than 8 bits are scaled,
    not clipped. Modes I and F do not say which value is white: it is the first of 255 and 65,535 (for F also
    1.0, before these) that no value exceeds, or else the highest value; negative values and NaN are black.

    Args:
        image: left as it is. Of an animation the current frame is taken.

    Returns:
        A new RGB image.

    Raises:
        InputError: a lazily read file turns out to be damaged, or the mode has no conversion to RGB.
    """
    name = getattr(image, "filename", "") or f"image of mode {image.mode}, {image.width} x {image.height}"
    with _decoding(str(name)):
        return _upright_rgb(image)


def find_images(arguments: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """Find the image files that a user means.

    Args:
        arguments: each a file, a folder (the images directly inside, by suffix) or a pattern (`*`, `?`,
            `[]`, and `**` for any depth; again by suffix). Hidden files are taken only when named.

    Returns:
        The paths, in the order of the arguments, sorted within each, no path twice; and one message for each
        argument that gives no image, so that a command can report these and go on with the others.
    """
    paths: dict[Path, None] = {}
    problems: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = _only_images(path.iterdir())
            problem = f"{path}: no image in this folder; for those in folders below give '{path}/**/*.jpg'"
        elif path.exists():
            found, problem = [path], ""
        elif glob.has_magic(str(argument)):
            # pathlib's own glob takes no pattern that begins at the root
            found = _only_images(map(Path, glob.glob(str(argument), recursive=True)))  # noqa: PTH207
            problem = f"{argument}: no image matches this pattern"
        else:
            found, problem = [], f"{argument}: no such file or folder"
        paths.update(dict.fromkeys(found))
        if not found:
            problems.append(problem)
    return list(paths), problems


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Tell which files do not exist, by listing each folder once rather than asking for each file."""
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
    """Check that every image a reader is about to return has its file.

    Args:
        paths: the images' files.
        source: the file that names them, for the message.

    Raises:
        InputError: some do not exist; the message counts them and gives the first three.
    """
    missing = missing_files(paths)
    if missing:
        raise InputError(
            f"{source} names {len(paths):,} images, of which {len(missing):,} have no file: "
            f"{', '.join(map(str, missing[:3]))}{', ...' if len(missing) > 3 else ''}; "
            "add them, or give data.features=DIR: with cached features no images are needed"
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
    image.load()  # turns a TIFF by itself, and reads EXIF that stands behind a PNG's pixels
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    upright = image.copy() if turn is None else image.transpose(turn)
    if upright.mode.startswith(("I", "F")):
        upright = _scaled_to_8_bits(upright)
    elif upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    rgb.info.clear()  # the EXIF in it would turn the image a second time
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
    """Turn whatever goes wrong while decoding into an InputError; Pillow's warnings go to the log."""
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
        raise InputError(f"{name}: the image cannot be read ({reason}); get or save the file anew") from error
    for warning in caught:
        log.debug("%s: %s", name, warning.message)


def _what_it_is(name: str) -> str:
    """Say what stands in a file that is no image: often a saved web page, or nothing."""
    with Path(name).open("rb") as file:
        start = file.read(16)
    return f" (begins with {start!r})" if start else " (the file is empty)"
