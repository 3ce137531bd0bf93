"""What stands for an image: paths, PIL images, bytes, files, arrays and tensors; all give the same pixels."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from captioning.data import images as limits
from captioning.data.pixels import pixels
from captioning.errors import InputError

WIDTH, HEIGHT = 5, 3
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def values(image: Any) -> Tensor:
    """The transformed image: (C, H, W) of its values."""
    return pixels(image, lambda rgb: torch.from_numpy(np.array(rgb)).permute(2, 0, 1), name="images[4]")


def png(array: np.ndarray[Any, Any] = RGB) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """A file that cannot seek, and gives a few bytes at a time, as sockets do."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(size, 7))


def test_every_kind_of_image_gives_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    expected = torch.from_numpy(RGB).permute(2, 0, 1)
    at_end = io.BytesIO(png())
    at_end.seek(0, os.SEEK_END)
    with path.open("rb") as file:
        for image in (
            path, str(path), os.fspath(path), Image.fromarray(RGB), png(), bytearray(png()), memoryview(png()), at_end,
            file, Pipe(png()), RGB, np.asfortranarray(RGB), expected, expected.mT.contiguous().mT,
        ):  # fmt: skip
            assert values(image).equal(expected), type(image)
        assert at_end.tell() == len(png())


def test_a_grey_array_is_an_image() -> None:
    grey = RGB[:, :, 0]
    assert values(grey).equal(torch.from_numpy(grey).expand(3, -1, -1))


def closed() -> io.BytesIO:
    file = io.BytesIO(png())
    file.close()
    return file


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB / 255.0, r"images\[4\] is a numpy array float64 \(3, 5, 3\), expected uint8 in 0..255; for floats"),
        (torch.rand(3, 4, 5), r"images\[4\] is a torch tensor float32 \(3, 4, 5\), expected uint8"),
        (RGB.transpose(2, 0, 1), r"uint8 \(3, 3, 5\), expected \(H, W, 3\) or \(H, W\).*image\.transpose\(1, 2, 0\)"),
        (RGB[None], r"\(1, 3, 5, 3\), expected .*; give a list for several images"),
        (RGB[:0], r"\(0, 5, 3\), expected"),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), r"image\.permute\(2, 0, 1\)"),
        (torch.zeros(1, 3, 5, 3, dtype=torch.uint8), "give a list for several images"),
        (torch.zeros(3, 0, 3, dtype=torch.uint8), r"\(3, 0, 3\), expected"),
        (b"", r"images\[4\]: not an image, or a damaged one \(the file is empty\)"),
        (b"no image", r"images\[4\]: not an image"),
        (png()[:60], r"images\[4\]: "),
        (io.BytesIO(), r"images\[4\]: not an image.*empty"),
        (closed(), r"images\[4\] is closed, expected an open file"),
        (io.StringIO("x"), r'images\[4\] is opened as text; open the image with open\(path, "rb"\)'),
        (Pipe(b"no image"), r"images\[4\]: not an image"),
        (3, r"images\[4\] is a int, expected a path"),
        (iter([png()]), r"images\[4\] is a list_iterator, expected a path.*put several images in a list"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_named_with_its_place(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        values(image)


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, Pipe])
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_the_limits_of_files_hold_for_bytes(kind: Any, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, suffix)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000 if suffix == "webp" else 700)
    with pytest.raises(InputError, match=r"images\[4\]: .* exceeds limit of"):
        values(kind(buffer.getvalue()))


def test_a_format_that_starts_programs_is_not_read_from_bytes() -> None:
    with pytest.raises(InputError, match="not an image"):
        values(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_no_more_than_the_limit_is_read_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_STREAM", 20)
    pipe = Pipe(b"x" * 1000)
    with pytest.raises(InputError, match="holds more than 20 bytes"):
        values(pipe)
    assert pipe.data.tell() <= 21
