"""Thousands of damaged and malicious image files: each gives an RGB image or an InputError, soon and in little memory.

FUZZ_IMAGES sets the number of mutated files, and FUZZ_SEED where they start.
"""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioning.data.images import check_image, load_image
from captioning.errors import InputError

pytestmark = pytest.mark.slow

NUMBER, SEED = int(os.environ.get("FUZZ_IMAGES", "3000")), int(os.environ.get("FUZZ_SEED", "1"))
MOST_SECONDS, MOST_BYTES = 10.0, 2 * 2**30
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind")
HARMLESS = "not an image|cannot be read|exceeds limit|pipe, socket or device|is a folder|no such file"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # Pillow leaves settings in what it saves
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """Valid small images of every format, in many modes and encodings."""
    rgb = Image.merge("RGB", [Image.effect_noise((61, 47), 40).rotate(90 * turns) for turns in range(3)])
    grey, alpha = rgb.convert("L"), rgb.convert("RGBA")
    alpha.putalpha(Image.effect_noise(rgb.size, 90))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 255)
    exif = Image.Exif()
    exif[0x0112] = 6

    def animated(kind: str) -> bytes:
        return saved(rgb, kind, save_all=True, append_images=[rgb.rotate(180), rgb.rotate(90)])

    profile = bytes(range(256)) * 20
    made = [
        saved(rgb, "JPEG", exif=exif, icc_profile=profile),
        saved(rgb, "JPEG", progressive=True, subsampling=0),
        saved(grey, "JPEG", comment=b"x" * 500),
        saved(rgb.convert("CMYK"), "JPEG"),
        animated("MPO"),
        saved(rgb, "PNG", exif=exif, icc_profile=profile),
        saved(alpha, "PNG"),
        saved(rgb.quantize(16), "PNG", transparency=3),
        saved(deep, "PNG"),
        animated("PNG"),
        saved(grey.convert("1"), "PNG"),
        animated("GIF"),
        saved(rgb.quantize(16), "GIF", transparency=3),
        saved(rgb, "BMP"),
        saved(rgb.quantize(16), "BMP"),
        saved(rgb, "PPM"),
        saved(deep, "PPM"),
        b"P3\n3 2\n255\n" + b"12 34 56 " * 6,
        b"P1\n3 2\n0 1 0 1 0 1\n",
        saved(rgb, "WEBP"),
        saved(alpha, "WEBP", lossless=True, exif=exif),
        animated("WEBP"),
        saved(rgb, "AVIF", quality=40),
        saved(alpha, "AVIF", quality=40),
        animated("TIFF"),
    ]
    made += [saved(rgb, "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    made.append(saved(grey.convert("1"), "TIFF", compression="group4"))
    made.append(saved(grey.convert("F"), "TIFF"))
    made.append(saved(grey.convert("I"), "TIFF"))
    try:
        import pillow_heif
    except ImportError:
        return made
    buffer = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(buffer, quality=40)
    return [*made, buffer.getvalue()]


def mutated(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """Damage an image in one to three of the ways in which files break, or are broken on purpose."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        size = len(changed)
        place = draw.randrange(min(size, draw.choice([64, 256, size]))) if size else 0
        match draw.randrange(9):
            case 0:
                del changed[draw.randrange(size + 1) :]
            case 1:
                for _ in range(draw.choice([1, 4, 32])):
                    changed[draw.randrange(size) : 1] = b"" if not size else bytes([draw.randrange(256)])
            case 2 if size:
                for _ in range(draw.choice([1, 4, 32])):
                    changed[draw.randrange(size)] = draw.randrange(256)
            case 3 if size:  # header fields are numbers
                number = draw.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**14, 2**16, 30_000])
                packed = struct.pack(draw.choice("<>") + "I", number)
                changed[place : place + 4] = packed[: draw.choice([2, 4])].ljust(min(4, size - place), b"\0")
            case 4 if size:
                changed[place] ^= 1 << draw.randrange(8)
            case 5:
                end = min(size, place + draw.choice([4, 40, 400]))
                del changed[place:end]
            case 6:
                end = min(size, place + draw.choice([4, 40, 400]))
                changed[place:place] = changed[place:end] * draw.choice([1, 2, 50])
            case 7:
                changed[place:] = other[min(place, len(other)) :]
            case 8:
                end = min(size, place + draw.choice([4, 40, 4000]))
                changed[place:end] = bytes(end - place)
    if draw.random() < 0.3 and bytes(changed[:8]) == b"\x89PNG\r\n\x1a\n":
        return with_checksums(bytes(changed))
    return bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """Correct the checksums of a damaged PNG, so that its decoder sees the damage."""
    out, place = [data[:8]], 8
    while place + 8 <= len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        body = data[place + 4 : place + 8 + length]
        out.append(data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join(out)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def malicious() -> Iterator[tuple[str, bytes]]:
    """Files that are made to start a program, to fill the memory or to wait."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run showpage\n"
    small = saved(Image.new("RGB", (9, 9)), "JPEG")
    yield "eps", script
    yield "eps in a DOS shell", b"\xc5\xd0\xd3\xc6" + struct.pack("<7I", 32, len(script), 0, 0, 0, 0, 0xFFFF) + script
    yield "eps after a jpeg", small + script
    yield "jpeg after an eps", script + small
    yield "pdf", b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\n"
    yield "wmf", b"\xd7\xcd\xc6\x9a" + bytes(60)
    yield "emf", struct.pack("<II", 1, 88) + bytes(32) + b" EMF" + bytes(60)
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/x.png"/></svg>'
    yield "mvg", b"push graphic-context\nfill 'url(https://127.0.0.1/|touch x)'\npop graphic-context\n"
    yield "html", b"<!DOCTYPE html><html>"
    yield "zip", b"PK\3\4" + bytes(100)
    yield "hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100)
    yield "fits", b"SIMPLE  =                    T" + bytes(3000)
    yield "psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(20)
    for side in (2**14, 2**16, 2**31 - 1):
        yield f"png of {side}", png(side, side)
        yield (
            f"gif of {side}",
            b"GIF89a" + struct.pack("<HHBBB", side & 0xFFFF, side & 0xFFFF, 0, 0, 0) + b"," + bytes(20),
        )
        yield (
            f"bmp of {side}",
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, side, side, 1, 24, 0, 0, 1, 1, 0, 0),
        )
        yield f"ppm of {side}", b"P6 %d %d 255\n" % (side, side)
        yield f"plain ppm of {side}", b"P3 %d %d 255\n" % (side, side)
    yield "png of 178 MP in 16-bit RGBA", png(13_000, 13_700, depth=16, colour=6)
    yield (
        "whole png of 178 MP with a palette and transparency",
        png(
            13_000,
            13_700,
            chunk(b"PLTE", bytes(12)),
            chunk(b"tRNS", b"\0\1"),
            colour=3,
            pixels=bytes(13_001 * 13_700),
        ),
    )
    yield "whole grey png of 178 MP of 16 bits", png(13_000, 13_700, depth=16, colour=0, pixels=bytes(26_001 * 13_700))
    yield "png of one column", png(1, 60_000, pixels=bytes(4 * 60_000))
    bomb = zlib.compress(bytes(200_000_000), 9)
    yield "png with a bomb as profile", png(9, 9, chunk(b"iCCP", b"x\0\0" + bomb), pixels=bytes(28 * 9))
    yield "png with a bomb as text", png(9, 9, chunk(b"zTXt", b"x\0\0" + bomb), pixels=bytes(28 * 9))
    yield (
        "png with a bomb as EXIF",
        png(9, 9, chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb), pixels=bytes(28 * 9)),
    )
    yield (
        "png with a bomb as XMP",
        png(9, 9, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb), pixels=bytes(28 * 9)),
    )
    yield "png with 1,000 texts", png(9, 9, *[chunk(b"tEXt", b"x\0" + b"y" * 99_000)] * 1000, pixels=bytes(28 * 9))
    yield "png with too many pixels", png(9, 9, pixels=bytes(100_000_000))
    yield "webp of 16,383", webp(16_383, 16_383)
    yield "webp of 9,400", webp(9_400, 9_400)
    endless = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0100, 4, 1, 5, 8)  # its next folder is itself
    yield "tiff without an end", endless
    yield "tiff with 2**32 strips", struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHII", 273, 4, 2**32 - 1, 8)


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: its header is changed to another size, so that the pixels are missing."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08" + bytes(8)
    body = b"VP8L" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.fixture(scope="module", autouse=True)
def _no_process_and_no_network() -> Iterator[None]:
    """Fail at any attempt to start a process or to connect. An audit hook cannot be removed, so it is switched off."""
    watching = [True]

    def hook(event: str, arguments: object) -> None:
        if watching[0] and event in FORBIDDEN:
            raise SystemError(f"{event} {arguments}")

    sys.addaudithook(hook)
    yield
    watching[0] = False


def read(file: Path, name: str, counts: Counter[str]) -> None:
    """Read a file in both ways, and check what comes of it."""
    for reader in (load_image, check_image):
        started = time.process_time()  # other programs may keep the machine busy
        try:
            image = reader(file)
        except InputError as error:
            message = str(error)
            assert len(message) < 500, name
            assert message.isprintable(), name
            counts[f"refused by {reader.__name__}"] += 1
        else:
            counts[f"read by {reader.__name__}"] += 1
            if image is not None:
                assert image.mode == "RGB", name
                assert image.width * image.height <= 2 * Image.MAX_IMAGE_PIXELS, name
                image.getpixel((image.width - 1, image.height - 1))
            image = None
        seconds = time.process_time() - started
        counts["slowest, in ms"] = max(counts["slowest, in ms"], round(1000 * seconds))
        assert seconds < MOST_SECONDS, name
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counts["peak memory, in MB"] = peak >> 20
    assert peak < MOST_BYTES, name


def test_malicious_files_start_nothing_and_fill_no_memory(tmp_path: Path) -> None:
    counts = Counter[str]()
    for name, data in malicious():
        for suffix in (".png", ".jpg"):
            file = tmp_path / f"a{suffix}"
            file.write_bytes(data)
            read(file, name, counts)
    print(dict(counts))
    assert counts["read by load_image"] == counts["read by check_image"]


def test_mutated_files_give_an_image_or_an_input_error(tmp_path: Path) -> None:
    valid, counts = seeds(), Counter[str]()
    for data in valid:
        (tmp_path / "valid").write_bytes(data)
        assert load_image(tmp_path / "valid").size in ((61, 47), (47, 61), (3, 2))
    for number in range(SEED, SEED + NUMBER):
        draw = random.Random(number)
        data = mutated(draw.choice(valid), draw.choice(valid), draw)
        file = tmp_path / draw.choice(["a.jpg", "a.png", "a.tif", "a.heic", "a"])
        file.write_bytes(data)
        read(file, f"FUZZ_SEED={number}", counts)
        file.unlink()
    print(dict(counts))
    assert counts["read by load_image"] > NUMBER / 50
