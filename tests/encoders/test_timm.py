import logging

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from captioning.encoders.timm import TimmEncoder
from captioning.errors import InputError

# Model, kind of its features, F pooled, F with a grid, grid cells.
MODELS = [
    ("test_resnet", "maps", 96, 96, 25),
    ("test_vit", "tokens", 64, 64, 100),
    ("mobilenetv3_small_050", "maps, then a wider layer", 1024, 288, 49),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in [
            ("mambaout_femto", "channels last, then a wider layer", 1152, 288, 49),
            ("swin_s3_tiny_224", "channels last", 768, 768, 49),
            ("coat_lite_tiny", "tokens, unknown number of prefix tokens", 320, 320, 49),
            ("deit_tiny_distilled_patch16_224", "two prefix tokens", 192, 192, 196),
            ("vit_relpos_small_patch16_224", "no prefix token", 384, 384, 196),
            ("convnext_femto", "maps", 384, 384, 49),
            ("vgg11", "maps, then a wider layer", 4096, 512, 49),
            ("inception_v3", "maps", 2048, 2048, 64),
        ]
    ),
]


@pytest.mark.parametrize(("model", "kind", "pooled_size", "grid_size", "places"), MODELS)
def test_features_of_every_kind(model, kind, pooled_size, grid_size, places):
    alone, with_grid = TimmEncoder(model, None).eval(), TimmEncoder(model, None, grid=True).eval()
    assert (alone.feature_size, with_grid.feature_size) == (pooled_size, grid_size)
    images = torch.randn(2, 3, *alone.transform.size)
    with torch.no_grad():
        features, gridded = alone(images), with_grid(images)
    assert features.grid is None
    assert features.pooled.shape == (2, pooled_size)
    assert gridded.pooled.shape == (2, grid_size)
    assert gridded.grid.shape == (2, places, grid_size)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_pooled_is_what_the_classifier_reads(model, tmp_path):
    network = timm.create_model(model).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder = TimmEncoder(model, str(tmp_path / "weights.safetensors")).eval()
    read = []
    network.get_classifier().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    images = torch.randn(2, 3, *encoder.transform.size)
    with torch.no_grad():
        network(images)
        assert torch.equal(encoder(images).pooled, read[0])


def test_channels_last_grid_is_row_by_row():
    encoder = TimmEncoder("mambaout_femto", None, grid=True).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        last = encoder.network.forward_features(images)
        grid = encoder(images).grid
    assert last.shape == (1, 2, 3, 288)
    assert torch.equal(grid[0, 1 * 3 + 2], last[0, 1, 2])


def test_grid_of_tokens_is_its_patches():
    torch.manual_seed(0)
    encoder = TimmEncoder("test_vit", None, grid=True).eval()
    images = torch.zeros(2, 3, 160, 160)
    images[1, :, 16 * 3 : 16 * 4, 16 * 5 : 16 * 6] = 9
    with torch.no_grad():
        grid = encoder(images).grid
    assert (grid[1] - grid[0]).norm(dim=1).argmax() == 3 * 10 + 5


@pytest.mark.parametrize(
    ("num_prefix", "num_tokens", "num_patches"),
    [(16, 65, 49), (0, 50, 50), (None, 50, 49), (None, 49, 49)],  # None: the patches form a square
)
def test_prefix_tokens_are_not_in_the_grid(num_prefix, num_tokens, num_patches):
    encoder = TimmEncoder("test_vit", None)
    if num_prefix is None:
        del encoder.network.num_prefix_tokens
    else:
        encoder.network.num_prefix_tokens = num_prefix
    assert encoder._to_grid(torch.zeros(1, num_tokens, 2)).shape == (1, num_patches, 2)


def test_pooled_of_another_width_becomes_the_grid_mean_and_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        encoder = TimmEncoder("mobilenetv3_small_050", None, grid=True).eval()
    assert "mobilenetv3_small_050: pooled is the mean of the grid's 288 channels" in caplog.text
    with torch.no_grad():
        features = encoder(torch.randn(2, 3, 224, 224))
    assert torch.equal(features.pooled, features.grid.mean(1))
    assert not [name for name in encoder.state_dict() if "conv_head" in name or "classifier" in name]


def test_every_parameter_gets_a_gradient():
    # A parameter without a gradient would stop distributed training.
    for grid in (False, True):
        encoder = TimmEncoder("mobilenetv3_small_050", None, grid=grid)
        encoder(torch.randn(2, 3, 64, 64)).pooled.sum().backward()
        assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("model", ["pit_ti_224", "crossvit_tiny_240"])
def test_network_without_a_grid_is_refused(model):
    with pytest.raises(InputError, match=f"{model} has no grid .its features are .*; use encoder.grid=false"):
        TimmEncoder(model, None, grid=True)


def random_image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (433, 301, 3), dtype=np.uint8))


@pytest.mark.parametrize("model", ["test_resnet.r160_in1k", "test_vit", "tf_efficientnet_lite0"])
def test_transform_is_timms_own_bit_by_bit(model):
    encoder = TimmEncoder(model, None)
    own = create_transform(**resolve_model_data_config(timm.create_model(model)), is_training=False)
    assert torch.equal(encoder.transform(random_image()), own(random_image()))


def test_network_that_timm_evaluates_squashed_is_also_squashed_in_crop_mode(monkeypatch):
    monkeypatch.setattr(
        "captioning.encoders.timm.resolve_model_data_config",
        lambda network: resolve_model_data_config(network, args={"crop_pct": 1.0, "crop_mode": "squash"}),
    )
    encoder = TimmEncoder("test_vit", None)
    assert encoder.transform.mode == "squash"
    own = create_transform(
        (3, 160, 160), crop_pct=1.0, crop_mode="squash", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert torch.equal(encoder.transform(random_image()), own(random_image()))


def test_unsupported_preprocessing_is_refused(monkeypatch):
    monkeypatch.setattr(
        "captioning.encoders.timm.resolve_model_data_config",
        lambda network: resolve_model_data_config(network, args={"crop_mode": "border"}),
    )
    with pytest.raises(InputError, match=r"crop_mode='border' at 160 x 160, .* use encoder.mode=squash"):
        TimmEncoder("test_vit", None)
    assert TimmEncoder("test_vit", None, mode="squash").transform.mode == "squash"


def test_pretrained_weights_come_from_timm(monkeypatch):
    asked = {}

    def create(name, pretrained):
        asked[name] = pretrained
        return original(name)

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    TimmEncoder("test_resnet.r160_in1k", "pretrained")
    assert asked == {"test_resnet.r160_in1k": True}


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(name, pretrained):
        raise FileNotFoundError("cannot find the requested files in the local cache")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError) as error:
        TimmEncoder("test_resnet", "pretrained")
    for part in ("timm's weights of test_resnet could not", "local cache", "encoder.weights=PATH"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("resnt18", None, "timm has no model 'resnt18'; near: resnet18"),
        ("resnet18.foo", None, "timm's resnet18 has no weights tagged 'foo'; it has a1_in1k"),
        ("hf-hub:timm/resnet18", None, "expected one of timm's registered names, not a hub or a folder"),
        ("local-dir:weights", None, "expected one of timm's registered names"),
        ("timm/resnet18", None, "expected one of timm's registered names"),
        ("test_resnet", "absent.pth", "absent.pth: no such file"),
        (
            "starnet_s050",
            "pretrained",
            "no weights for starnet_s050; expected a local file, null, or one of the models starnet_s",
        ),
    ],
)
def test_invalid_arguments_are_refused(model, weights, message):
    with pytest.raises(InputError, match=message):
        TimmEncoder(model, weights)


def test_file_of_another_model_is_refused(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"do not fit ResNet: \d+ missing .*; \d+ unexpected"):
        TimmEncoder("test_resnet", str(tmp_path / "weights.safetensors"))


@pytest.mark.shared
@pytest.mark.parametrize(("model", "side", "places"), [("lite0", 224, 7 * 7), ("lite2", 260, 9 * 9)])
def test_real_weights_load_strictly(shared, model, side, places):
    name = f"tf_efficientnet_{model}"
    path = shared / "weights" / f"{name}.safetensors"
    encoder = TimmEncoder(name, str(path), grid=True, mode="squash").eval()
    image_files = sorted((shared / "data/flickr8k/Images").glob("*.jpg"))[:2]
    images = torch.stack([encoder.transform(Image.open(p).convert("RGB")) for p in image_files])
    with torch.no_grad():
        features = encoder(images)
    assert images.shape == (2, 3, side, side)
    assert features.pooled.shape == (2, 1280)
    assert features.grid.shape == (2, places, 1280)
    torch.testing.assert_close(features.grid.mean(1), features.pooled)
    other = {"lite0": "tf_efficientnet_lite2", "lite2": "tf_efficientnet_lite0"}[model]
    with pytest.raises(InputError, match="do not fit EfficientNet"):
        TimmEncoder(other, str(path))


@pytest.mark.shared
def test_real_weights_recognise_an_image(shared):
    # With matching preprocessing, weights and network, a dog is among the most probable classes of this image.
    name = "tf_efficientnet_lite0"
    path = shared / "weights" / f"{name}.safetensors"
    encoder = TimmEncoder(name, str(path), mode="squash").eval()
    network = timm.create_model(name, checkpoint_path=str(path)).eval()
    one_image = Image.open(shared / "data/flickr8k/Images/1001773457_577c3a7d70.jpg").convert("RGB")
    with torch.no_grad():
        scores = network.get_classifier()(encoder(encoder.transform(one_image)[None]).pooled)
    assert {*range(151, 269)} & {*scores[0].topk(3).indices.tolist()}  # ImageNet's dogs are 151 to 268


def test_size_scales_image_and_grid():
    whole, small = (TimmEncoder("test_resnet", None, grid=True, mode="squash", size=s).eval() for s in (None, 96))
    assert small.transform.size == (96, 96)
    one_image = Image.new("RGB", (50, 40), "red")
    with torch.no_grad():
        cells = [encoder(encoder.transform(one_image)[None]).grid.shape[1] for encoder in (whole, small)]
    assert cells == [25, 9]  # 160 / 32 and 96 / 32, squared
    crop = TimmEncoder("test_resnet", None, size=96).transform
    pct = resolve_model_data_config(timm.create_model("test_resnet"))["crop_pct"]
    assert (crop.size, crop.resize_size) == ((96, 96), int(96 / pct))


def test_a_network_of_fixed_size_refuses_another_size():
    assert TimmEncoder("test_vit", None, size=160).transform.size == (160, 160)
    with pytest.raises(InputError, match=r"only images of 160 x 160 pixels, not size=96; use size=null"):
        TimmEncoder("test_vit", None, size=96)


def test_kept_weights_that_are_not_finite_are_refused_and_removed_ones_are_not(tmp_path):
    state = timm.create_model("test_efficientnet").state_dict()
    path = tmp_path / "w.safetensors"
    for name in ("classifier.bias", "bn1.running_mean"):
        save_file(state | {name: torch.full_like(state[name], float("nan"))}, path)
        if name == "classifier.bias":
            assert TimmEncoder("test_efficientnet", str(path)).feature_size
        else:
            with pytest.raises(InputError, match=r"1 of \d+ have numbers that are not finite \(network\.bn1"):
                TimmEncoder("test_efficientnet", str(path))
