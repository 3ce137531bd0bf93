"""Any image becomes upright RGB; whatever is not one is told so."""

from __future__ import annotations

import io
import logging
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import captioning
from captioning.data import images
from captioning.data.images import check_image, load_image, to_rgb
from captioning.errors import InputError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    right, bottom = image.width - 1, image.height - 1
    return [image.getpixel(place) for place in ((0, 0), (right, 0), (0, bottom), (right, bottom))]


def image_of_corners() -> Image.Image:
    """3 x 2 with a red, a green, a blue and a white corner (in reading order)."""
    image = Image.new("RGB", (3, 2))
    for place, colour in (((0, 0), RED), ((2, 0), GREEN), ((0, 1), BLUE), ((2, 1), WHITE)):
        image.putpixel(place, colour)
    return image


def test_jpeg_is_read_as_loaded_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), RED).save(tmp_path / "a.jpg")
    image = load_image(tmp_path / "a.jpg")
    assert (image.mode, image.size) == ("RGB", (5, 4))
    assert np.abs(np.asarray(image, dtype=int) - RED).max() <= 2  # JPEG is lossy
    assert load_image(str(tmp_path / "a.jpg")) == image


# How a camera stores the upright image: for each orientation, the corners as stored.
STORED = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [GREEN, WHITE, RED, BLUE],
    7: [WHITE, GREEN, BLUE, RED],
    8: [BLUE, RED, WHITE, GREEN],
}


@pytest.mark.parametrize(("orientation", "suffix"), [*((o, "png") for o in STORED), (6, "tiff")])  # Pillow turns a TIFF
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = Image.new("RGB", (3, 2) if orientation < 5 else (2, 3))
    right, bottom = stored.width - 1, stored.height - 1
    places = ((0, 0), (right, 0), (0, bottom), (right, bottom))
    for place, colour in zip(places, STORED[orientation], strict=True):
        stored.putpixel(place, colour)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    stored.save(file, exif=exif)
    image = load_image(file)
    assert image.size == (3, 2)
    assert corners(image) == [RED, GREEN, BLUE, WHITE]


def test_image_in_memory_is_turned_once_and_not_changed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3, 2)).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        once = to_rgb(opened)
        assert opened.size == (3, 2)
    assert once.size == (2, 3)
    assert to_rgb(once).size == (2, 3)


def test_invalid_exif_tag_does_not_prevent_turning(tmp_path: Path) -> None:
    # Two entries: orientation 6, and a DateTime that is a number instead of a text.
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHIHH", 0x0132, 3, 1, 5, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    Image.new("RGB", (3, 2)).save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").size == (2, 3)


def transparent(mode: str) -> Image.Image:
    """Left pixel black and opaque, right pixel black and transparent."""
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.putpixel((1, 0), 1)
        image.info["transparency"] = bytes([255, 0])
        return image
    if mode == "L with a key":
        image = Image.new("L", (2, 1))
        image.putpixel((1, 0), 7)
        image.info["transparency"] = 7
        return image
    alpha = Image.new("L", (2, 1), 255)
    alpha.putpixel((1, 0), 0)
    image = Image.new(mode, (2, 1))
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L with a key"])
def test_transparency_becomes_white(mode: str) -> None:
    image = to_rgb(transparent(mode))
    assert [image.getpixel((0, 0)), image.getpixel((1, 0))] == [(0, 0, 0), WHITE]


def test_half_transparency_is_mixed_with_white() -> None:
    assert to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 51))).getpixel((0, 0)) == (255, 204, 204)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_transparent_files_become_white(tmp_path: Path, suffix: str) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / f"a.{suffix}")
    assert load_image(tmp_path / f"a.{suffix}").getpixel((0, 0)) == WHITE


def test_opaque_palette_keeps_its_colours() -> None:
    image = image_of_corners()
    assert corners(to_rgb(image.quantize(5))) == corners(image)


@pytest.mark.parametrize(("mode", "value"), [("L", 128), ("1", 1)])
def test_grey_gives_three_equal_channels(mode: str, value: int) -> None:
    grey = 255 if mode == "1" else value
    assert to_rgb(Image.new(mode, (1, 1), value)).getpixel((0, 0)) == (grey, grey, grey)


def test_cmyk_gives_its_colour(tmp_path: Path) -> None:
    assert to_rgb(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).getpixel((0, 0)) == RED


def test_adobe_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    # Pillow writes CMYK JPEGs as Adobe does: inverted, with the marker that says so.
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    assert np.abs(np.asarray(load_image(tmp_path / "a.jpg"), dtype=int) - RED).max() <= 4


def test_16_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65_535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png"))[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
    assert np.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_dark_16_bit_image_stays_dark() -> None:
    assert to_rgb(Image.fromarray(np.full((1, 1), 200, dtype=np.uint16))).getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 257, 65_535], [0, 1, 255]),
        ([0, 500_000, 1_000_000], [0, 128, 255]),
        ([-5, 0, 255], [0, 0, 255]),
    ],
)
def test_mode_i_takes_white_from_the_range_of_its_values(values: list[int], grey: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.int32))
    assert image.mode == "I"
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == grey


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 100.4, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65_535.0], [0, 1, 255]),
        ([float("nan"), -1.0, 1.0], [0, 0, 255]),
    ],
)
def test_mode_f_takes_white_from_the_range_of_its_values(values: list[float], grey: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert image.mode == "F"
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == grey


@given(
    st.sampled_from(
        "1 L P RGB RGBA CMYK YCbCr LAB HSV I F LA PA RGBX I;16 I;16B".split()  # noqa: SIM905
    ),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_every_mode_becomes_rgb_of_the_same_size_and_then_stays(mode: str, width: int, height: int) -> None:
    once = to_rgb(Image.new(mode, (width, height)))
    assert (once.mode, once.size) == ("RGB", (width, height))
    assert to_rgb(once) == once


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_first_frame_of_an_animation_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    extra = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **extra)
    assert load_image(tmp_path / f"a.{suffix}").getpixel((0, 0)) == RED


def test_unconvertible_mode_is_reported() -> None:
    with pytest.raises(InputError, match=r"image of mode La, 2 x 1: the image cannot be read .*La"):
        to_rgb(Image.new("La", (2, 1)))


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg: no such file, expected an image"):
        load_image(tmp_path / "a.jpg")


def test_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected an image file"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"<html>not found</html>", r"begins with b'<html>not found<'"), (b"", "the file is empty")],
)
def test_not_an_image_is_reported_with_what_it_is(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.jpg: not an image, or a damaged one \({reason}\)"):
        load_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_file_is_reported(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InputError, match=rf"a\.{suffix}: the image cannot be read \(.*truncated.*again"):
        load_image(file)
    with (
        Image.open(file) as lazily_read,
        pytest.raises(InputError, match=rf"a\.{suffix}: the image cannot be read"),
    ):
        to_rgb(lazily_read)


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (100, 21)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice as many
    with pytest.raises(InputError, match=r"a\.png: Image size \(2100 pixels\) exceeds limit .*smaller"):
        load_image(tmp_path / "a.png")


def test_warnings_of_pillow_go_to_the_debug_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "captioning.data.images")
    Image.new("1", (100, 11)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # more than this is warned of
    assert load_image(tmp_path / "a.png").size == (100, 11)
    assert "Image size (1100 pixels)" in caplog.text


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), RED).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = jpeg_bytes()


@given(st.lists(st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 255)), max_size=8))
def test_damaged_bytes_give_an_image_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, int]]
) -> None:
    data = bytearray(JPEG)
    for place, byte in damages:
        data[place] = byte
    file = tmp_path_factory.getbasetemp() / "damaged.jpg"
    file.write_bytes(data)
    try:
        assert load_image(file).mode == "RGB"
    except InputError as error:
        assert str(file) in str(error)


def png_with(*chunks: bytes) -> bytes:
    """A red PNG with more chunks after its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), RED).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


ZEROS = zlib.compress(bytes(3_000_000))
XMP = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"profile\0\0" + ZEROS),
        chunk(b"zTXt", b"Comment\0\0" + ZEROS),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + ZEROS),
        chunk(b"tEXt", b"Comment\0" + b"x" * 70_000_000),
    ],
    ids=["profile", "zTXt", "iTXt", "tEXt"],
)
def test_png_with_a_large_text_or_profile_is_read(tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png_with(extra))
    image = load_image(tmp_path / "a.png")
    assert corners(image) == [RED] * 4
    check_image(tmp_path / "a.png")


def test_png_whose_profile_is_too_large_is_still_turned(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), RED).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    extra = chunk(b"iCCP", b"profile\0\0" + ZEROS) + chunk(b"iTXt", XMP)
    (tmp_path / "a.png").write_bytes(data[:33] + extra + data[33:])
    assert load_image(tmp_path / "a.png").size == (2, 3)


def test_truncated_png_with_a_large_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_with(chunk(b"zTXt", b"Comment\0\0" + ZEROS))[:-30])
    with pytest.raises(InputError, match=r"a\.png: the image cannot be read"):
        load_image(tmp_path / "a.png")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("data", [POSTSCRIPT, b"%PDF-1.4\n", b"\xd7\xcd\xc6\x9a" + bytes(40), b"<svg/>", b"8BPS\0\1"])
def test_formats_that_are_not_listed_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)  # Pillow starts Ghostscript for EPS
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="not an image, or a damaged one"):
        load_image(tmp_path / "a.png")


def test_opened_image_of_another_format_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    (tmp_path / "a.eps").write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / "a.eps") as opened, pytest.raises(InputError, match=r"EPS images are not read here"):
        to_rgb(opened)


def test_every_image_of_the_package_is_opened_by_this_module() -> None:
    package = Path(captioning.__file__).parent
    found = [path.name for path in package.rglob("*.py") if "Image.open(" in path.read_text(encoding="utf-8")]
    assert found == ["images.py"]


@pytest.mark.parametrize("read", [load_image, check_image])
def test_pipe_is_refused_and_not_opened(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is a pipe, socket or device"):
        read(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="/dev/zero is a pipe, socket or device"):
        read(Path("/dev/zero"))


def test_heic_is_read_upright(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new("RGB", (64, 48), RED)
    pillow_heif.from_pillow(stored).save(tmp_path / "a.heic", exif=exif.tobytes())
    image = load_image(tmp_path / "a.heic")
    assert image.size == (48, 64)
    assert np.abs(np.asarray(image, dtype=int) - RED).max() <= 8  # HEIC is lossy
    data = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.heic"):
        load_image(tmp_path / "a.heic")


def test_heic_without_its_package_is_reported_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    with pytest.raises(InputError, match=r"a\.jpg is a HEIC image.*pip install 'captioning\[heic\]'"):
        load_image(tmp_path / "a.jpg")


def test_only_a_very_large_jpeg_is_decoded_at_a_smaller_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.effect_noise((400, 200), 9).convert("RGB").save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as opened:
        whole = opened.copy()
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.jpg")), np.asarray(whole))
    monkeypatch.setattr(images, "DRAFT_SIDE", 50)
    monkeypatch.setattr(images, "DRAFT_PIXELS", 400 * 200)
    assert load_image(tmp_path / "a.jpg").size == (400, 200)
    monkeypatch.setattr(images, "DRAFT_PIXELS", 400 * 200 - 1)
    assert load_image(tmp_path / "a.jpg").size == (100, 50)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp"])
def test_opened_images_do_not_stay_in_memory(tmp_path: Path, suffix: str) -> None:
    image_of_corners().resize((30, 20)).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        once = to_rgb(opened)
        assert opened._im is None  # still in its file
        assert to_rgb(opened) == once
        opened.load()
        assert to_rgb(opened) == once


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK", "I", "F", "I;16"])
def test_strips_give_what_the_whole_image_gives(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    noise = Image.effect_noise((13, 17), 90)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(noise).astype(np.uint16) * 251)
    elif mode == "RGBA":
        image = Image.merge("RGBA", [noise.rotate(90 * turns) for turns in range(4)])
    else:
        image = noise.convert("RGB").convert(mode)
    whole = to_rgb(image)
    monkeypatch.setattr(images, "_STRIP", 40)
    assert to_rgb(image) == whole


def test_formats_with_costly_decoders_have_half_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for suffix in ("png", "webp"):
        Image.new("RGB", (100, 11)).save(tmp_path / f"a.{suffix}")
    assert load_image(tmp_path / "a.png").size == (100, 11)
    with pytest.raises(InputError, match=r"a\.webp: WEBP size \(1100 pixels\) exceeds limit"):
        load_image(tmp_path / "a.webp")


def test_long_and_dangerous_names_are_shortened_and_escaped(tmp_path: Path) -> None:
    name = "\x1b[31m" + "x" * 200 + "\n.jpg"
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        load_image(tmp_path / name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 330
