"""Features of detected regions: both forms give the same, and nothing damaged passes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captioning.data.example import CaptionedImage
from captioning.data.features.regions import load_regions, open_regions, require_regions
from captioning.errors import InputError

Found = Mapping[int, NDArray[np.float32]]
Make = Callable[[Path, Found], Path]

IMAGES = [CaptionedImage(n, Path(f"COCO_val2014_{n:012}.jpg"), ()) for n in (42, 7, 9)]
FOUND = {
    image.image_id: np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    for image, n in zip(IMAGES, (1, 3, 4), strict=True)
    if isinstance(image.image_id, int)
}


def by_id(folder: Path, found: Found) -> Path:
    for image_id, values in found.items():
        np.savez_compressed(folder / f"{image_id}.npz", feat=values)
    return folder


def by_name_and_column(folder: Path, found: Found) -> Path:
    for image_id, values in found.items():
        np.savez(folder / f"COCO_val2014_{image_id:012}.npz", x=values.T, bbox=np.zeros((len(values), 4)))
    return folder


def tsv(folder: Path, found: Found) -> Path:
    with (folder / "boxes.tsv").open("wb") as file:
        for image_id, values in found.items():
            boxes = np.zeros((len(values), 4), dtype=np.float32)
            encoded = [base64.b64encode(x.tobytes()) for x in (boxes, values)]
            file.write(b"\t".join([b"%d\t640\t480\t%d" % (image_id, len(values)), *encoded]) + b"\n")
    return folder / "boxes.tsv"


FORMS = pytest.mark.parametrize("make", [by_id, by_name_and_column, tsv])


@FORMS
def test_regions_are_masked_and_pooled_to_their_mean(make: Make, tmp_path: Path) -> None:
    files = open_regions(make(tmp_path, FOUND))
    require_regions(files, IMAGES, tmp_path)
    features = load_regions(files, IMAGES, feature_size=6, num_regions=4)
    assert features.grid is not None
    assert features.mask is not None
    assert features.mask.sum(1).tolist() == [1, 3, 4]
    for row, values in enumerate(FOUND.values()):
        torch.testing.assert_close(features.grid[row][features.mask[row]], torch.from_numpy(values), rtol=0, atol=0)
        torch.testing.assert_close(features.pooled[row], torch.from_numpy(values.mean(0)))
    assert not features.grid[~features.mask].any()


@FORMS
def test_images_without_regions_are_named(make: Make, tmp_path: Path) -> None:
    files = open_regions(make(tmp_path, {7: FOUND[7]}))
    with pytest.raises(InputError, match=r"boxes has no regions of 2 of 3 images \(42, 9\)"):
        require_regions(files, IMAGES, "boxes")


@FORMS
def test_too_many_regions_and_another_width_are_reported(make: Make, tmp_path: Path) -> None:
    files = open_regions(make(tmp_path, FOUND))
    with pytest.raises(InputError, match=r"image 9 has 4 regions, expected 1 to 3; set encoder.num_regions"):
        load_regions(files, IMAGES, feature_size=6, num_regions=3)
    with pytest.raises(InputError, match=r"expected numbers \(regions, 5\); set encoder.feature_size"):
        load_regions(files, IMAGES[1:], feature_size=5, num_regions=4)


@FORMS
def test_an_image_that_the_files_lack_is_reported(make: Make, tmp_path: Path) -> None:
    files = open_regions(make(tmp_path, {42: np.zeros((2, 6), dtype=np.float32)}))
    with pytest.raises(InputError, match="no regions of 7, 9; add them"):
        load_regions(files, IMAGES, feature_size=6, num_regions=3)


@FORMS
def test_an_image_of_no_region_is_reported(make: Make, tmp_path: Path) -> None:
    files = open_regions(make(tmp_path, {42: np.zeros((0, 6), dtype=np.float32)}))
    with pytest.raises(InputError, match=r"image 42|42\.npz, array \w+ holds float32 .*, none of them 0"):
        load_regions(files, IMAGES[:1], feature_size=6, num_regions=3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"42\t640\t480\t1\tAAAA", "has other columns"),
        (b"42\t640\t480\tone\tAAAA\tAAAA", "has other columns"),
        (b"42\t640\t480\t2\tAAAA\tAAAAAAAAAAAAAAAA", "cannot reshape"),
        (b"42\t640\t480\t1\tAAAA\tAAA", "padding"),
    ],
)
def test_a_damaged_line_is_reported(line: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.tsv").write_bytes(line + b"\n")
    with pytest.raises(InputError, match=f"boxes.tsv, image 42: .*{message}"):
        load_regions(open_regions(tmp_path / "boxes.tsv"), IMAGES[:1], feature_size=1, num_regions=3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"boxes": np.zeros((2, 4))}, "holds boxes, expected an array called feat, x or features"),
        ({"feat": np.array([{}], dtype=object)}, "array feat holds object"),
        ({"feat": np.array(["a"])}, "expected float16, float32 or float64"),
    ],
)
def test_an_npz_of_something_else_is_reported_and_never_unpickled(
    arrays: dict[str, NDArray[np.generic]], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "42.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        load_regions(open_regions(tmp_path), IMAGES[:1], feature_size=6, num_regions=3)


def test_an_npz_that_is_cut_short_is_reported(tmp_path: Path) -> None:
    by_id(tmp_path, FOUND)
    whole = (tmp_path / "42.npz").read_bytes()
    (tmp_path / "42.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"42.npz is damaged: .*; copy it again"):
        load_regions(open_regions(tmp_path), IMAGES[:1], feature_size=6, num_regions=3)


def test_a_source_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no regions at .*nowhere; expected a folder of .npz files"):
        open_regions(tmp_path / "nowhere")
