import torch
from torch import nn

from captioning.encoders.surgery import example, mean_of, record_calls, remove_layers, to_grid
from captioning.encoders.transform import ImageTransform


def test_map_becomes_a_grid_row_by_row_from_the_top_left():
    height, width, channels = 2, 3, 5
    features = torch.arange(channels * height * width).view(1, channels, height, width)
    grid = to_grid(features)
    assert grid.shape == (1, height * width, channels)
    for row in range(height):
        for column in range(width):
            assert torch.equal(grid[0, row * width + column], features[0, :, row, column])


def test_prefix_tokens_are_left_out():
    tokens = torch.arange(30).view(1, 6, 5)
    assert torch.equal(to_grid(tokens, num_prefix=2), tokens[:, 2:])
    assert torch.equal(mean_of(tokens.float()), tokens.float().mean(1))


def test_recording_calls_changes_nothing_and_lists_children_first():
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.ReLU())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    calls, result = record_calls(network, lambda: network(torch.randn(1, 3)))
    assert [call.name for call in calls] == ["0.0", "0.1", "0", "1"]
    assert torch.equal(calls[-1].output, result)
    assert not result.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in network.modules())


def test_removed_layers_become_identities_without_parameters():
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    calls, _ = record_calls(network, lambda: network(torch.randn(1, 3)))
    remove_layers(network, calls[1:])
    assert list(network.state_dict()) == ["0.weight", "0.bias"]
    x = torch.randn(2, 3)
    assert torch.equal(network(x), network[0](x).relu())


def test_example_is_one_image_of_the_transforms_size():
    assert example(ImageTransform(size=(5, 7), mode="squash")).shape == (1, 3, 5, 7)
