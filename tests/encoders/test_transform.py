import json
import pickle

import numpy as np
import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as F

from captioning.encoders.transform import INTERPOLATIONS, ImageTransform
from captioning.errors import InputError

SQUASH = ImageTransform(size=(5, 7), mode="squash")


def random_image(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


side = st.integers(1, 60)


@settings(max_examples=300)
@given(image_size=st.tuples(side, side), size=st.tuples(side, side), resize_size=st.none() | side, data=st.data())
def test_result_equals_torchvision_bit_by_bit(image_size, size, resize_size, data):
    interpolation = data.draw(st.sampled_from(INTERPOLATIONS))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    mode = "squash" if resize_size is None else "crop"
    transform = ImageTransform(size, resize_size, interpolation=interpolation, mean=mean, std=std, mode=mode)
    image = random_image(*image_size)
    resized = F.resize(image, list(size) if resize_size is None else [resize_size], F.InterpolationMode(interpolation))
    # This divides by 255, where torchvision.transforms.v2 multiplies by 1/255.
    pixels = F.convert_image_dtype(F.pil_to_tensor(F.center_crop(resized, list(size))), torch.float32)
    expected = F.normalize(pixels, list(mean), list(std))
    assert torch.equal(transform(image), expected)
    assert transform(image).stride() == expected.stride()


@settings(max_examples=40)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    crop=st.integers(1, 24),
    crop_pct=st.sampled_from([0.875, 0.9, 1.0]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_crop_equals_timm_bit_by_bit(width, height, crop, crop_pct, interpolation):
    published = timm.data.create_transform(
        (3, crop, crop), is_training=False, crop_pct=crop_pct, interpolation=interpolation
    )
    ours = ImageTransform(size=(crop, crop), resize_size=int(crop / crop_pct), interpolation=interpolation)
    assert torch.equal(ours(random_image(width, height)), published(random_image(width, height)))


def test_squash_keeps_the_edges_that_crop_loses():
    marked = Image.new("RGB", (100, 20))
    marked.paste((255, 255, 255), (0, 0, 10, 20))
    assert SQUASH(marked)[:, :, 0].min() > SQUASH(marked)[:, :, 3].max()
    cropped = ImageTransform(size=(5, 7), resize_size=7)(marked)
    assert cropped[0].min() == cropped[0].max()


def test_squash_of_an_image_of_that_size_changes_no_pixel():
    plain = ImageTransform(size=(3, 4), mode="squash", mean=(0, 0, 0), std=(1, 1, 1))
    pixels = torch.from_numpy(np.asarray(random_image(4, 3)).copy()).permute(2, 0, 1)
    assert torch.equal((plain(random_image(4, 3)) * 255).round().byte(), pixels)


def test_dictionary_survives_json():
    for transform in (SQUASH, ImageTransform(size=(5, 7), resize_size=9, interpolation="bicubic")):
        values = transform.to_dict()
        assert json.loads(json.dumps(values)) == values
        assert ImageTransform.from_dict(json.loads(json.dumps(values))) == transform
        assert hash(ImageTransform.from_dict(values)) == hash(transform)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": [224]}, r"size=\(224,\), expected \[height, width\]"),
        ({"size": [224, 0]}, r"size=\(224, 0\), expected"),
        ({"size": [224, 1.5]}, "expected .height, width., whole numbers"),
        ({"size": 224}, "size=224, expected a list of numbers"),
        ({"mean": [0.5, 0.5]}, r"mean=\(0.5, 0.5\), expected three numbers"),
        ({"mean": [0.5, 0.5, "x"]}, "mean=.*expected three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean=.*expected three numbers"),
        ({"std": [0.5, 0.5, 0]}, r"std=\(0.5, 0.5, 0\), expected three numbers above 0"),
        ({"interpolation": "cubic"}, "interpolation='cubic', expected one of nearest, box, bilinear"),
        ({"interpolation": ["bilinear"]}, "interpolation=.*expected one of"),
        ({"mode": "pad"}, "mode='pad', expected crop or squash"),
        ({"mode": "crop"}, "resize_size=None, expected a whole number above 0 with mode='crop'"),
        ({"resize_size": 256}, "resize_size=256, expected null with mode='squash'"),
        ({"colour": 1}, r"missing \[\], unknown \['colour'\]; expected exactly \['interpolation'"),
    ],
)
def test_impossible_values_are_named(changed, message):
    with pytest.raises(InputError, match=message):
        ImageTransform.from_dict(SQUASH.to_dict() | changed)


def test_missing_key_is_named():
    values = SQUASH.to_dict()
    del values["std"]
    with pytest.raises(InputError, match=r"missing \['std'\]"):
        ImageTransform.from_dict(values)


NO_JITTER = {"brightness": 0, "contrast": 0, "saturation": 0}
WHOLE = {"scale": (1, 1), "ratio": (1, 1), **NO_JITTER}


def test_augmented_does_not_mirror_unless_asked():
    square = random_image(40, 40)
    for _ in range(20):
        torch.testing.assert_close(SQUASH.augmented(**WHOLE)(square), SQUASH(square))
    mirrored = SQUASH.augmented(**WHOLE, horizontal_flip=1)(square)
    np.testing.assert_allclose(mirrored, SQUASH(square).flip(2), atol=0.01)  # resizing rounds to 8 bits


def test_augmented_keeps_hue_by_default():
    grey = Image.new("RGB", (30, 30), (100, 100, 100))
    plain = ImageTransform(size=(5, 7), mode="squash", mean=(0, 0, 0), std=(1, 1, 1))
    for _ in range(5):
        red, green, blue = plain.augmented()(grey)
        assert torch.equal(red, green)
        assert torch.equal(red, blue)


def test_augmented_draws_from_torchs_generator_and_survives_pickling():
    augmented = SQUASH.augmented()
    torch.manual_seed(1)
    first, other = augmented(random_image(40, 30)), augmented(random_image(40, 30))
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(augmented))(random_image(40, 30))
    assert first.shape == (3, 5, 7)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": (0.0, 1.0)}, "scale=.0.0, 1.0., expected 0 < smallest <= largest <= 1"),
        ({"scale": (0.5, 2.0)}, "expected 0 < smallest"),
        ({"horizontal_flip": 2.0}, "augmentation: .*between 0 and 1|augmentation: .*interval"),
        ({"brightness": -1.0}, "augmentation: .*non negative"),
        ({"hue": 0.7}, "augmentation: hue"),
    ],
)
def test_impossible_augmentation_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        SQUASH.augmented(**arguments)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 100_000)])
def test_of_a_very_long_image_the_middle_is_resized(size):
    image = Image.new("RGB", size)
    image.paste("red", (size[0] // 10, size[1] // 10, size[0], size[1]))
    tensor = ImageTransform((8, 8), 256, mean=(0, 0, 0), std=(1, 1, 1))(image)
    assert tensor.shape == (3, 8, 8)
    assert tensor[0].min() == 1  # the ends are lost, as they are in every crop


@given(image_size=st.tuples(side, side), size=st.tuples(side, side), resize_size=st.none() | side)
@example(image_size=(3, 250), size=(4, 5), resize_size=6)  # the ends are left out
@example(image_size=(250, 1), size=(4, 5), resize_size=2)
def test_points_go_back_to_the_pixels_that_they_come_from(image_size, size, resize_size):
    transform = ImageTransform(
        size, resize_size, interpolation="nearest", mean=(0, 0, 0), std=(1, 1, 1),
        mode="squash" if resize_size is None else "crop",
    )  # fmt: skip
    width, height = image_size
    marked = np.full((height, width, 3), 255, np.uint8)
    marked[..., 0], marked[..., 1] = np.arange(width), np.arange(height)[:, None]
    x, y, real = (transform(Image.fromarray(marked)) * 255).round().long().numpy().reshape(3, -1)

    rows, columns = np.divmod(np.arange(size[0] * size[1]), size[1])
    points = np.stack([(columns + 0.5) / size[1], (rows + 0.5) / size[0]], axis=1)
    found = transform.points_in_image(points, image_size) * image_size
    inside = ((found >= 0) & (found <= image_size)).all(1)
    assert (real == 255)[inside].all() and (real == 0)[~inside].all()
    source = np.stack([x, y], axis=1)[inside]
    assert (source - 1e-6 <= found[inside]).all() and (found[inside] <= source + 1 + 1e-6).all()
