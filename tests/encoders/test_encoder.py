import hashlib
import json
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import captioning.encoders
from captioning.encoders import Encoder, ImageFeatures, ImageTransform
from captioning.encoders.batch_norm import synchronise
from captioning.errors import InputError

TRANSFORM = ImageTransform(size=(4, 4), mode="squash")


class TwoConvolutions(Encoder):
    """A position embedding of the network's own, two convolutions with statistics, a linear layer."""

    def __init__(self) -> None:
        super().__init__("two_convolutions", grid=False, transform=TRANSFORM)
        self.feature_size = 2
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.stem = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.middle = nn.Conv2d(4, 4, 1)
        self.last = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))

    def forward(self, images: Tensor) -> ImageFeatures:
        last = self.middle(self.norm(self.stem(images + self.shift))).mean((2, 3))
        return ImageFeatures(self.last(last))


class Nested(Encoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__("nested", grid=False, transform=TRANSFORM)
        self.network = network

    def forward(self, images: Tensor) -> ImageFeatures:
        raise NotImplementedError


def trainable(encoder: Encoder) -> set[str]:
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


def statistics(encoder: TwoConvolutions) -> list[Tensor]:
    return [norm.running_mean.clone() for norm in (encoder.norm, encoder.last[1])]


def test_stages_are_ordered_and_a_normalisation_joins_the_stage_before():
    encoder = TwoConvolutions()
    assert [set(map(id, stage.parameters())) for stage in encoder.stages()] == [
        set(map(id, [*encoder.stem.parameters(), *encoder.norm.parameters()])),
        set(map(id, encoder.middle.parameters())),
        set(map(id, encoder.last.parameters())),
    ]


def test_stages_split_a_module_with_most_parameters():
    small, middle, large = nn.Linear(2, 2), nn.Linear(3, 3), nn.Linear(9, 9)
    blocks = nn.Sequential(middle, nn.ReLU(), large)
    # The network and its blocks have most parameters and are split. The large layer has most but cannot be split.
    assert Nested(nn.Sequential(small, blocks)).stages() == [small, middle, large]


def test_frozen_encoder_builds_no_graph_and_its_statistics_do_not_drift():
    encoder = TwoConvolutions().set_trainable(0)
    before = statistics(encoder)
    encoder.train()
    pooled = encoder(torch.randn(5, 3, 4, 4)).pooled
    assert pooled.grad_fn is None
    assert not pooled.requires_grad
    assert trainable(encoder) == set()
    assert not any(module.training for module in encoder.modules())
    torch.testing.assert_close(statistics(encoder), before, rtol=0, atol=0)


def test_last_stages_train_and_the_others_stay_fixed():
    encoder = TwoConvolutions().set_trainable(1)
    first, last = statistics(encoder)
    assert trainable(encoder) == {"last.0.weight", "last.0.bias", "last.1.weight", "last.1.bias"}
    assert [encoder.stem.training, encoder.norm.training, encoder.last.training] == [False, False, True]
    encoder.train()
    encoder(torch.randn(5, 3, 4, 4)).pooled.square().sum().backward()
    assert all(p.grad is None for name, p in encoder.named_parameters() if not name.startswith("last"))
    assert torch.equal(statistics(encoder)[0], first)
    assert not torch.equal(statistics(encoder)[1], last)


@pytest.mark.parametrize("num_stages", [1, 3, None])
def test_batch_normalisations_can_keep_the_statistics_of_the_weights(num_stages):
    encoder = TwoConvolutions()
    synchronise(encoder.last)
    encoder.set_trainable(num_stages, batch_statistics=False)
    before, images = statistics(encoder), torch.randn(5, 3, 4, 4)
    for mode in (True, False, True):
        encoder.train(mode)
        assert encoder.last.training == mode
        pooled = encoder(images).pooled
        torch.testing.assert_close(encoder(images[:2]).pooled, pooled[:2])  # the other images change nothing
    pooled.square().sum().backward()
    assert encoder.last[1].weight.grad is not None
    torch.testing.assert_close(statistics(encoder), before, rtol=0, atol=0)
    encoder.set_trainable(num_stages).train()
    assert not torch.allclose(encoder(images[:2]).pooled, encoder(images).pooled[:2])


def test_mode_of_trainable_stages_follows_train_and_eval():
    encoder = TwoConvolutions().set_trainable(2)
    for mode in (False, True, False):
        encoder.train(mode)
        assert (encoder.middle.training, encoder.last[1].training, encoder.stem.training) == (mode, mode, False)


def test_none_also_trains_parameters_of_no_stage():
    encoder = TwoConvolutions().set_trainable(0)
    encoder.set_trainable(3)
    assert trainable(encoder) == {name for name, _ in encoder.named_parameters()} - {"shift"}
    encoder.set_trainable(None)
    assert trainable(encoder) == {name for name, _ in encoder.named_parameters()}
    assert all(module.training for module in encoder.modules())
    assert not any(module.training for module in encoder.eval().modules())


@pytest.mark.parametrize("num_stages", [-1, 4])
def test_invalid_number_of_stages_is_refused(num_stages):
    with pytest.raises(InputError, match=rf"two_convolutions: num_stages={num_stages}, expected 0 .* to 3 "):
        TwoConvolutions().set_trainable(num_stages)


class Known(Nested):
    def __init__(self, **buffers: Tensor) -> None:
        super().__init__(nn.Identity())
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)


def test_digest_is_sha256_of_names_types_shapes_and_bytes():
    # Every process and machine must compute this value. All platforms of torch are little-endian.
    expected = hashlib.sha256(
        b"a torch.float32 [2, 1]\n" + bytes.fromhex("0000803f00000040") + b"b torch.int64 []\n" + bytes([3] + [0] * 7)
    ).hexdigest()
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor(3)
    assert Known(a=a, b=b).digest() == expected
    assert Known(b=b, a=a).digest() == expected
    assert Known(a=a.expand(2, 2)[:, :1], b=b).digest() == expected  # whatever the memory layout


def test_digest_changes_with_every_change():
    x = torch.tensor([1.0, 2.0])
    changed = [
        {"a": x},
        {"b": x},
        {"a": x.view(2, 1)},
        {"a": x.view(torch.int32)},
        {"a": x + 1e-7},
        {"a": x.bfloat16()},
        {"a": x, "b": torch.zeros(0)},
    ]
    assert len({Known(**buffers).digest() for buffers in changed}) == len(changed)


def test_identity_survives_json_and_follows_weights_and_transform():
    encoder = TwoConvolutions()
    before = encoder.identity()
    assert json.loads(json.dumps(before)) == before
    assert before == {
        "class": "TwoConvolutions",
        "model": "two_convolutions",
        "grid": False,
        "transform": TRANSFORM.to_dict(),
        "weights": encoder.digest(),
    }
    with torch.no_grad():
        encoder.stem.bias += 1
    after = encoder.identity(ImageTransform(size=(5, 5), mode="squash"))
    assert {key for key in before if before[key] != after[key]} == {"transform", "weights"}


def test_identity_needs_a_transform():
    encoder = TwoConvolutions()
    encoder.transform = None
    with pytest.raises(ValueError, match="two_convolutions has no transform of its own"):
        encoder.identity()
    assert encoder.identity(TRANSFORM) == TwoConvolutions().identity() | {"weights": encoder.digest()}


@pytest.mark.slow
def test_a_small_cnn_needs_neither_timm_nor_torchvision():
    code = (
        "import sys; from PIL import Image; from captioning.encoders import SmallCNN, Standardise, TextEncoder\n"
        "SmallCNN().transform(Image.new('RGB', (7, 5))); print({'timm', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_unknown_encoder_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'Resnet'"):
        _ = captioning.encoders.Resnet
