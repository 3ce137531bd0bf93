import copy
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import (
    ResNet18_Weights,
    SqueezeNet1_1_Weights,
    ViT_B_16_Weights,
    get_model,
    get_model_weights,
    list_models,
)

from captioning.encoders.torchvision import TorchvisionEncoder, _transform
from captioning.errors import InputError

# Model, image side, F pooled, F with a grid, grid cells, whether pooled is the grid's mean.
MODELS = [
    ("squeezenet1_1", 224, 512, 512, 169, True),
    ("mobilenet_v3_small", 224, 1024, 576, 49, True),
    *(
        pytest.param(*row, marks=pytest.mark.slow)
        for row in [
            ("resnet18", 224, 512, 512, 49, True),
            ("efficientnet_b0", 224, 1280, 1280, 49, True),
            ("densenet121", 224, 1024, 1024, 49, True),
            ("googlenet", 224, 1024, 1024, 49, True),
            ("inception_v3", 299, 2048, 2048, 64, True),
            ("vgg11", 224, 4096, 512, 49, True),
            ("swin_t", 224, 768, 768, 49, True),
            ("convnext_tiny", 224, 768, 768, 49, False),
            ("maxvit_t", 224, 512, 512, 49, False),
            ("vit_b_16", 224, 768, 768, 196, False),
            ("regnet_x_400mf", 224, 400, 400, 49, True),
            ("mnasnet0_5", 224, 1280, 1280, 49, True),
        ]
    ),
]


@pytest.mark.parametrize(("model", "side", "pooled_size", "grid_size", "places", "is_mean"), MODELS)
def test_features_of_every_family(model, side, pooled_size, grid_size, places, is_mean):
    torch.manual_seed(0)
    images = torch.randn(2, 3, side, side)
    alone, with_grid = TorchvisionEncoder(model, None).eval(), TorchvisionEncoder(model, None, grid=True).eval()
    assert alone.transform.size == (side, side)
    assert (alone.feature_size, with_grid.feature_size) == (pooled_size, grid_size)
    with torch.no_grad():
        features, gridded = alone(images), with_grid(images)
    assert features.grid is None
    assert features.pooled.shape == (2, pooled_size)
    assert gridded.pooled.shape == (2, grid_size)
    assert gridded.grid.shape == (2, places, grid_size)
    assert torch.allclose(gridded.grid.mean(1), gridded.pooled, atol=1e-6) == is_mean
    assert gridded.pooled.std() > 0


@pytest.mark.parametrize(
    ("model", "last"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        pytest.param("vgg11", "classifier.6", marks=pytest.mark.slow),
        pytest.param("googlenet", "fc", marks=pytest.mark.slow),
        pytest.param("vit_b_16", "heads.head", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_pooled_is_what_the_last_layer_of_torchvisions_own_network_reads(model, last, tmp_path):
    network = get_model(model).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder = TorchvisionEncoder(model, str(tmp_path / "weights.safetensors")).eval()
    if hasattr(network, "transform_input"):
        network.transform_input = True  # as with torchvision's weights
    read = []
    network.get_submodule(last).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        network(images)
        assert torch.equal(encoder(images).pooled, read[0])


def test_grid_is_the_last_map_row_by_row():
    encoder = TorchvisionEncoder("resnet18", None, grid=True).eval()
    network = encoder.network
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        last = network.layer4(network.layer3(network.layer2(network.layer1(x))))
        grid = encoder(images).grid
    assert last.shape[2:] == (2, 3)
    torch.testing.assert_close(grid[:, 1 * 3 + 2], last[:, :, 1, 2])


@pytest.mark.slow
def test_tokens_of_a_transformers_grid_are_its_patches():
    torch.manual_seed(0)
    encoder = TorchvisionEncoder("vit_b_16", None, grid=True).eval()
    images = torch.zeros(2, 3, 224, 224)
    images[1, :, 16 * 3 : 16 * 4, 16 * 5 : 16 * 6] = 9
    with torch.no_grad():
        grid = encoder(images).grid
    assert (grid[1] - grid[0]).norm(dim=1).argmax() == 3 * 14 + 5


def test_classifier_and_unused_layers_are_removed():
    assert not [n for n in TorchvisionEncoder("resnet18", None).state_dict() if "fc" in n]
    assert not [n for n in TorchvisionEncoder("mobilenet_v3_small", None, grid=True).state_dict() if "classifier" in n]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_off(model):
    encoder = TorchvisionEncoder(model, None)
    assert not [n for n in encoder.state_dict() if n.lower().startswith("network.aux")]
    side = encoder.transform.size[0]
    assert encoder.train()(torch.randn(2, 3, side, side)).pooled.requires_grad  # in training a tensor too


def test_gradients_reach_only_the_last_stages():
    encoder = TorchvisionEncoder("resnet18", None, grid=True).set_trainable(1)
    features = encoder(torch.randn(2, 3, 64, 64))
    (features.pooled.sum() + features.grid.sum()).backward()
    learned = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert learned == {"layer4"}
    before, last = encoder.network.layer4  # half of all parameters is in these two blocks
    assert (encoder.network.bn1.training, before.bn2.training, last.bn2.training) == (False, False, True)


@pytest.mark.parametrize("grid", [False, True])
def test_neighbours_are_invisible(grid):
    encoder = TorchvisionEncoder("mobilenet_v3_small", None, grid=grid).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).pooled[1:2], encoder(images[1:2]).pooled)


def test_state_dict_and_copy_give_the_same_encoder():
    first, second = (TorchvisionEncoder("mobilenet_v3_small", None, grid=True).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = first(images)
        for same in (second, copy.deepcopy(first)):
            assert torch.equal(same(images).grid, expected.grid)
    assert second.identity() == first.identity()
    assert first.identity()["model"] == "mobilenet_v3_small"


def random_image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_transform_is_the_published_one_of_each_weights_bit_by_bit():
    one_image = random_image(301, 433)
    for name in ("resnet50", "efficientnet_b1", "mobilenet_v3_large", "vit_b_16"):
        for weights in get_model_weights(name):
            assert torch.equal(_transform(weights, "crop")(one_image), weights.transforms()(one_image))


def test_every_published_transform_can_be_expressed():
    for name in list_models(module=torchvision.models):
        for weights in get_model_weights(name):
            ours, published = _transform(weights, "crop"), weights.transforms()
            assert (ours.size[0], ours.resize_size) == (published.crop_size[0], published.resize_size[0])


def test_squash_differs_from_crop_in_geometry_alone():
    crop, squash = (_transform(ResNet18_Weights.DEFAULT, mode) for mode in ("crop", "squash"))
    assert squash.to_dict() == crop.to_dict() | {"mode": "squash", "resize_size": None}


def test_named_weights_are_downloaded_with_their_transform(monkeypatch):
    published = get_model("squeezenet1_1").state_dict()
    asked = []

    def download(self, *args, **kwargs):
        asked.append((self, kwargs))
        return published

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", download)
    encoder = TorchvisionEncoder("squeezenet1_1", "IMAGENET1K_V1")
    assert asked == [(SqueezeNet1_1_Weights.IMAGENET1K_V1, {"progress": False, "check_hash": True})]
    assert torch.equal(encoder.network.features[0].weight, published["features.0.weight"])
    assert encoder.transform == _transform(SqueezeNet1_1_Weights.IMAGENET1K_V1, "crop")


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(self, *args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", fail)
    with pytest.raises(InputError) as error:
        TorchvisionEncoder("squeezenet1_1", "DEFAULT")
    for part in ("squeezenet1_1 DEFAULT (https://", "no network", "encoder.weights=PATH", ".pth into"):
        assert part in str(error.value)


@pytest.mark.slow
def test_weights_of_another_image_size_are_refused(monkeypatch):
    # A bundle builds the network before it knows which weights it gets, so all weights must fit one network.
    assert ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms().crop_size == [384]
    large = get_model("vit_b_16", image_size=384).state_dict()
    monkeypatch.setattr(ViT_B_16_Weights, "get_state_dict", lambda *args, **kwargs: large)
    with pytest.raises(InputError, match=r"pos_embedding is \[1, 577, 768\], expected \[1, 197, 768\]"):
        TorchvisionEncoder("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")


def test_versioned_layers_load_from_a_file_without_versions(tmp_path):
    network = get_model("mnasnet0_5")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder = TorchvisionEncoder("mnasnet0_5", str(tmp_path / "weights.safetensors"))
    assert torch.equal(encoder.network.layers[0].weight, network.layers[0].weight)


def test_weights_that_give_nonfinite_features_are_refused(tmp_path):
    # torchvision publishes a VGG whose last layers are NaN.
    state = get_model("mobilenet_v3_small").state_dict()
    state["classifier.0.weight"].fill_(float("nan"))
    path = tmp_path / "features.safetensors"
    save_file(state, path)
    with pytest.raises(InputError, match="mobilenet_v3_small: these weights give features that are not finite"):
        TorchvisionEncoder("mobilenet_v3_small", str(path))
    assert TorchvisionEncoder("mobilenet_v3_small", str(path), grid=True).feature_size == 576


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("resnt18", None, "no classification model 'resnt18'; near: resnet18"),
        ("fcn_resnet50", None, "no classification model 'fcn_resnet50'; near: .*resnet50"),
        ("resnet18", "IMAGENET1K_V3", "expected one of IMAGENET1K_V1, DEFAULT, a file ending in .*, or null"),
        ("resnet18", "absent.pth", "absent.pth: no such file"),
    ],
)
def test_invalid_arguments_are_refused(model, weights, message):
    with pytest.raises(InputError, match=message):
        TorchvisionEncoder(model, weights)


def test_file_of_another_model_is_refused(tmp_path):
    save_file(get_model("squeezenet1_1").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"do not fit MobileNetV3: \d+ missing .*; \d+ unexpected"):
        TorchvisionEncoder("mobilenet_v3_small", str(tmp_path / "weights.safetensors"))


def test_pooling_by_the_grid_mean_is_logged(caplog):
    with caplog.at_level("INFO"):
        TorchvisionEncoder("mobilenet_v3_small", None, grid=True)
    assert "mobilenet_v3_small: pooled is the mean of the grid's 576 channels" in caplog.text


def test_kept_weights_that_are_not_finite_are_refused(tmp_path):
    state = get_model("mobilenet_v3_small").state_dict()
    state["features.0.1.running_var"][0] = float("inf")  # its channel becomes 0, so that features stay finite
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"1 of \d+ have numbers that are not finite \(network\.features\.0\.1"):
        TorchvisionEncoder("mobilenet_v3_small", str(tmp_path / "w.safetensors"), grid=True)
