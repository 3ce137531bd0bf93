import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from captioning.encoders.small_cnn import SmallCNN
from captioning.errors import InputError


def test_shapes_follow_the_arguments():
    encoder = SmallCNN(size=(40, 24), channels=(8, 8, 16), grid=True)
    features = encoder(torch.randn(2, 3, 40, 24))
    assert features.pooled.shape == (2, 16 + 13)
    assert features.grid.shape == (2, 10 * 6, 16 + 13)
    assert encoder.feature_size == 16 + 13
    assert SmallCNN()(torch.randn(2, 3, 96, 96)).grid is None


def test_odd_sizes_are_possible():
    features = SmallCNN(size=(37, 51), channels=(8, 8, 8, 8), grid=True)(torch.randn(2, 3, 37, 51))
    assert features.grid.shape == (2, 5 * 7, 8 + 13)


def test_transform_keeps_every_pixel_of_a_scene():
    encoder = SmallCNN()
    scene = Image.new("RGB", (96, 96), (255, 0, 0))
    assert encoder.transform(scene)[0].unique().tolist() == [1.0]
    assert encoder.transform(scene)[1].unique().tolist() == [-1.0]


def test_pooled_features_depend_on_position():
    # Only `reduce` can see that a shape moved by 32 pixels. The change is compared with that of another colour.
    torch.manual_seed(0)
    encoder = SmallCNN().eval()
    encoder.positions.zero_()

    def features(left: int, colour: str) -> torch.Tensor:
        scene = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(scene).rectangle((left, 40, left + 16, 56), fill=colour)
        return encoder(encoder.transform(scene)[None]).pooled

    moved = (features(24, "red") - features(56, "red")).norm()
    recoloured = (features(24, "red") - features(24, "blue")).norm()
    assert moved > 0.5 * recoloured


def test_grid_cells_depend_on_their_position():
    # Far from the edges, cells of an empty image differ only by the coordinate channels.
    torch.manual_seed(0)
    encoder = SmallCNN(size=(256, 256), grid=True).eval()
    empty = torch.zeros(1, 3, 256, 256)
    grid = encoder(empty).grid.unflatten(1, (32, 32))
    assert (grid[:, 13, 13] - grid[:, 13, 18]).norm() > 0.01 * grid[:, 13, 13].norm()
    assert (grid[:, 13, 13] - grid[:, 18, 13]).norm() > 0.01 * grid[:, 13, 13].norm()
    encoder.positions.zero_()
    grid = encoder(empty).grid.unflatten(1, (32, 32))
    torch.testing.assert_close(grid[:, 13, 13], grid[:, 18, 18])


def test_a_grid_cell_holds_its_colour_and_position():
    encoder = SmallCNN(size=(16, 16), channels=(8, 8), grid=True)  # 8 x 8 cells of 2 x 2 pixels
    images = torch.rand(1, 3, 16, 16)
    cell = encoder(images).grid[0, 8 * 3 + 5, 8 + 8 :]
    torch.testing.assert_close(cell[:3], images[0, :, 6:8, 10:12].mean((1, 2)))
    torch.testing.assert_close(cell[3:], (torch.tensor([10.5, 6.5]) - 7.5) / 7.5)


def test_a_head_with_sharp_attention_reads_one_cell():
    torch.manual_seed(0)
    encoder = SmallCNN(size=(32, 32), channels=(8, 8, 8)).eval()
    x = torch.rand(2, 21, 8, 8)
    x[0, 3, 2, 5] = x[1, 3, 7, 0] = 2.0  # where channel 3 is the highest
    encoder.query.weight.data[0] = 1e4 * torch.eye(21)[3][:, None, None]
    first = encoder._heads(x).unflatten(1, (8, 21))[:, 0]
    torch.testing.assert_close(first, torch.stack([x[0, :, 2, 5], x[1, :, 7, 0]]))


def test_grid_is_row_by_row():
    torch.manual_seed(0)
    encoder = SmallCNN(grid=True).eval()
    image = torch.zeros(1, 3, 96, 96)
    marked = image.clone()
    marked[..., 72:80, 24:32] = 1  # the pixels of one cell, 8 x 8
    change = (encoder(marked).grid - encoder(image).grid)[0].norm(dim=1)
    assert change.argmax() == 9 * 12 + 3


def test_neighbours_are_invisible_in_use():
    encoder = SmallCNN(size=(32, 32), grid=True)
    encoder(torch.randn(5, 3, 32, 32))  # statistics that are not the first ones
    encoder.eval()
    images = torch.randn(3, 3, 32, 32)
    together, alone = encoder(images), encoder(images[1:2])
    torch.testing.assert_close(together.pooled[1:2], alone.pooled)
    torch.testing.assert_close(together.grid[1:2], alone.grid)


def test_learns_the_position_of_a_shape():
    torch.manual_seed(0)
    encoder = SmallCNN(size=(32, 32), channels=(16, 32, 32))
    classifier = torch.nn.Linear(encoder.feature_size, 4)
    optimizer = torch.optim.Adam([*encoder.parameters(), *classifier.parameters()], lr=3e-3)
    quarter = torch.arange(64) % 4
    images = torch.ones(64, 3, 32, 32)
    for image, q in zip(images, quarter.tolist(), strict=True):
        row, column = torch.randint(0, 9, (2,)) + 16 * torch.tensor([q // 2, q % 2])
        image[1:, row : row + 6, column : column + 6] = -1
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(classifier(encoder(images).pooled), quarter)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (classifier(encoder(images).pooled).argmax(1) == quarter).all()


def test_weights_of_a_file_give_the_same_features(tmp_path):
    trained = SmallCNN(size=(16, 16), channels=(8,), grid=True)
    save_file(trained.state_dict(), tmp_path / "small.safetensors")
    path = str(tmp_path / "small.safetensors")
    loaded = SmallCNN(size=(16, 16), channels=(8,), grid=True, weights=path)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(images).pooled, trained(images).pooled)
    assert loaded.digest() == trained.digest()
    with pytest.raises(InputError, match=r"do not fit SmallCNN: \d+ of another shape"):
        SmallCNN(size=(16, 16), channels=(16,), grid=True, weights=path)


def test_stages_run_from_the_first_block_to_the_features():
    encoder = SmallCNN()
    encoder.set_trainable(1)
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} == {
        f"{part}.{name}" for part in ("pool", "norm") for name in ("weight", "bias")
    }


@pytest.mark.parametrize("channels", [(), (12, 16), (0,)])
def test_invalid_channels_are_refused(channels):
    with pytest.raises(InputError, match=r"channels=.* expected one or more multiples of 8"):
        SmallCNN(channels=channels)


def test_pooled_features_have_one_scale():
    encoder = SmallCNN().eval()
    for contrast in (0.1, 1.0, 10.0):
        pooled = encoder(contrast * torch.randn(3, 3, 96, 96)).pooled
        torch.testing.assert_close(pooled.std(dim=1, unbiased=False), torch.ones(3), atol=0.01, rtol=0)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = SmallCNN((16, 16), channels=(8, 16)).state_dict()
    state["pool.bias"][0] = float("inf")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"1 of \d+ have numbers that are not finite \(pool\.bias\)"):
        SmallCNN((16, 16), channels=(8, 16), weights=str(tmp_path / "w.safetensors"))


def test_layers_are_the_mean_of_the_grid():
    features = SmallCNN(size=(40, 24), channels=(8, 8, 16), grid=True)(torch.randn(2, 3, 40, 24))
    torch.testing.assert_close(features.layers, features.grid.mean(1))
