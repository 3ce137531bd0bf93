import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from captioning.encoders.weights import downloading, load_weights, read_weights, require_finite, similar
from captioning.errors import InputError


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_file_loads_into_the_same_weights(tmp_path, suffix):
    saved, loaded = network(), network()
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(saved.state_dict(), path)
    load_weights(loaded, read_weights(path), path)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


def test_half_precision_file_is_loaded_as_float32(tmp_path):
    loaded = network()
    load_weights(loaded, network().half().state_dict(), "half")
    assert loaded[0].weight.dtype == torch.float32


def test_other_names_and_shapes_are_counted_and_a_few_given():
    state = network().state_dict()
    state["head.weight"] = state.pop("1.weight")
    state |= {"0.weight": torch.zeros(2, 2), "x": state["1.bias"], "y": state["1.bias"], "z": state["1.bias"]}
    with pytest.raises(InputError) as error:
        load_weights(network(), state, "resnet.pth")
    assert str(error.value) == (
        "weights resnet.pth do not fit Sequential: 1 missing (1.weight); 4 unexpected (head.weight, x, y, ...); "
        "1 of another shape (0.weight is [2, 2], expected [3, 2]); of 4 weights. "
        "Name the model that these weights belong to"
    )


def test_one_missing_weight_is_enough_to_refuse():
    state = network().state_dict()
    del state["1.bias"]
    with pytest.raises(InputError, match=r"1 missing \(1.bias\)"):
        load_weights(network(), state, "resnet.pth")


class Payload:
    def __reduce__(self):
        return logging.getLogger, ("payload ran",)


def test_file_cannot_run_code(tmp_path):
    torch.save({"weight": torch.zeros(1), "evil": Payload()}, tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(InputError, match=f"{name}: cannot be read as tensors and plain data"):
            read_weights(tmp_path / name)
    assert "payload ran" not in logging.Logger.manager.loggerDict


def test_unreadable_files_have_different_messages(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 40)
    torch.save({"state_dict": network().state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    for name, message in {
        "absent.pth": "absent.pth: no such file",
        "weights.h5": r"expected a file ending in one of .safetensors, .pth, .pt, .bin",
        "damaged.safetensors": "damaged.safetensors: cannot be read as tensors",
        "checkpoint.pth": r"names to tensors alone, found 2 other entries \(state_dict, epoch\); save",
        "tensor.pth": "names to tensors alone, found Tensor",
    }.items():
        with pytest.raises(InputError, match=message):
            read_weights(tmp_path / name)


def test_published_densenet_names_are_read():
    names = [f"features.denseblock1.denselayer1.{n}" for n in ("norm1.weight", "conv2.weight")]
    net = nn.Module()
    block = net.features = nn.Module()
    block.denseblock1 = nn.Module()
    layer = block.denseblock1.denselayer1 = nn.Module()
    layer.norm1, layer.conv2 = nn.BatchNorm1d(1, track_running_stats=False), nn.Conv1d(1, 1, 1, bias=False)
    old = {names[0].replace("norm1", "norm.1"): torch.tensor([5.0])}
    old[names[0].replace("norm1.weight", "norm.1.bias")] = torch.tensor([6.0])
    old[names[1].replace("conv2", "conv.2")] = torch.full((1, 1, 1), 7.0)
    load_weights(net, old, "densenet.pth")
    assert [p.item() for p in net.parameters()] == [5, 6, 7]


def test_failed_download_says_what_failed_and_what_to_do():
    with pytest.raises(InputError) as error, downloading("resnet18 DEFAULT", place="; or elsewhere"):
        raise OSError("name or service not known\nlong trace")
    assert str(error.value) == (
        "resnet18 DEFAULT could not be downloaded (OSError: name or service not known). Without a network, "
        "encoder.weights=PATH reads a local .safetensors or .pth file; or elsewhere"
    )


def test_similar_names_are_proposed():
    assert similar("resnt18", ["vgg11", "resnet18", "resnet34"]).startswith("resnet18")
    assert similar("qqqq", ["vgg11"]) == "nothing"


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            torch.zeros(3, 2, dtype=torch.int64),
            r"1 of another kind \(0.weight is torch.int64, expected torch.float32\)",
        ),
    ],
)
def test_weights_are_numbers_of_their_kind(weight, message):
    loaded = network()
    before = loaded[1].bias.clone()
    with pytest.raises(InputError, match=message):
        load_weights(loaded, network().state_dict() | {"0.weight": weight}, "x.pth")
    assert torch.equal(loaded[1].bias, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_kept_weights_are_finite(value):
    model = network()
    require_finite(model, "x.pth")
    model[0].weight.data[1, 1] = value
    with pytest.raises(InputError, match=r"weights x\.pth: 1 of \d+ have numbers that are not finite \(0\.weight\)"):
        require_finite(model, "x.pth")
