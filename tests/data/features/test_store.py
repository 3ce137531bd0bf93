import errno
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from captioning.data.features.store import FeatureStore, FeatureWriter
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

IDENTITY = {"class": "SmallCNN", "model": "small_cnn", "transform": {"size": [4, 4]}, "weights": "0" * 64}
IDS = ["a.jpg", 13, "b.jpg", 7, "13"]


def features(count: int = len(IDS), *, grid: bool = True) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(count, 3, generator=generator)
    if not grid:
        return ImageFeatures(pooled)
    places = torch.randn(count, 2, 3, generator=generator)
    return ImageFeatures(pooled, places, torch.arange(count * 2).view(count, 2) % 3 > 0)


def write(folder: Path, *, ids=IDS, dtype: str = "float32", rows: ImageFeatures | None = None) -> Path:
    with FeatureWriter(folder, IDENTITY, ids, dtype=dtype) as writer:
        writer.write(features() if rows is None else rows)
    return folder


def assert_equal(found: ImageFeatures, expected: ImageFeatures, **tolerance: float) -> None:
    for a, b in zip(
        (found.pooled, found.grid, found.mask), (expected.pooled, expected.grid, expected.mask), strict=True
    ):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **tolerance or {"rtol": 0, "atol": 0})


# ---- writing and reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [False, True])
def test_what_is_written_is_read_in_the_order_of_the_ids(tmp_path, grid):
    rows = features(grid=grid)
    store = FeatureStore(write(tmp_path / "new" / "train", rows=rows))
    assert_equal(store.features(IDS), rows)
    assert_equal(store.features(["13", 13, 13]), rows.rows(torch.tensor([4, 1, 1])))
    assert_equal(store.rows([2, 0]), rows.rows(torch.tensor([2, 0])))
    assert len(store) == len(IDS)
    assert store.image_ids == IDS
    assert store.identity == IDENTITY


def test_float16_is_read_as_float32(tmp_path):
    store = FeatureStore(write(tmp_path, dtype="float16"))
    found = store.features(IDS)
    assert found.pooled.dtype == found.grid.dtype == torch.float32
    assert_equal(found, features(), rtol=1e-3, atol=1e-4)
    assert np.load(tmp_path / "pooled.npy").dtype == np.float16


def test_no_images_is_no_rows(tmp_path):
    assert FeatureStore(write(tmp_path)).features([]).grid.shape == (0, 2, 3)


@settings(max_examples=10)
@given(
    runs=st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=3),  # batch sizes until it is killed
    flush_every=st.integers(1, 9),
)
def test_batches_and_interruptions_change_nothing(tmp_path_factory, runs, flush_every):
    folder, rows, ids, done = tmp_path_factory.mktemp("store"), features(11), list(range(100, 111)), 0
    for run in [*runs, [11]]:
        writer = FeatureWriter(folder, IDENTITY, ids, dtype="float32", flush_every=flush_every)
        assert 0 <= done - writer.rows_done < flush_every
        assert writer.remaining == ids[writer.rows_done :]
        for batch in run:
            at = torch.arange(11)[writer.rows_done : writer.rows_done + batch]
            writer.write(rows.rows(at))
        done = writer.rows_done
    assert_equal(FeatureStore(folder).features(ids), rows)


def test_finished_store_has_nothing_left_to_write(tmp_path, caplog):
    write(tmp_path)
    with caplog.at_level(logging.INFO), FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32") as writer:
        assert writer.remaining == []
    assert "5 of 5 images are done" in caplog.text


def test_leaving_the_writer_records_what_was_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), FeatureWriter(tmp_path, IDENTITY, IDS) as writer:
        writer.write(features(2))
        raise KeyboardInterrupt
    assert FeatureWriter(tmp_path, IDENTITY, IDS).rows_done == 2


@pytest.mark.slow
def test_kill_9_loses_no_recorded_row(tmp_path):
    program = f"""
        import os, signal, torch
        from captioning.data.features.store import FeatureWriter
        from captioning.encoders.features import ImageFeatures
        writer = FeatureWriter({str(tmp_path)!r}, {IDENTITY!r}, list(range(100)), dtype="float32", flush_every=10)
        for row in range(25):
            writer.write(ImageFeatures(torch.full((1, 3), float(row))))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with FeatureWriter(tmp_path, IDENTITY, list(range(100)), dtype="float32") as writer:
        assert writer.rows_done == 20
        writer.write(ImageFeatures(torch.arange(20.0, 100.0)[:, None].expand(-1, 3)))
    assert torch.equal(FeatureStore(tmp_path).rows(range(100)).pooled[:, 0], torch.arange(100.0))


def test_rows_are_recorded_after_they_are_safe(tmp_path, monkeypatch):
    order = []
    flush, replace = np.memmap.flush, Path.replace
    monkeypatch.setattr(np.memmap, "flush", lambda self: (order.append("flush"), flush(self)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("record"), replace(self, to)))
    write(tmp_path, rows=features(grid=False))
    assert order == ["record", "flush", "record"]


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": IDENTITY | {"weights": "1" * 64}}, "weights is '00000.* there and '1111.* here"),
        ({"identity": IDENTITY | {"transform": {"size": [5, 4]}}}, r"transform.size is \[4, 4\] there and \[5, 4\]"),
        ({"image_ids": [*IDS, "c.jpg"]}, r"it is for 5 images, not these 6: 1 new \('c.jpg'\), 0 gone \(none\)"),
        ({"image_ids": IDS[::-1]}, "the images are in another order"),
        ({"dtype": "float16"}, "dtype is float32 there and float16 here"),
    ],
)
def test_other_settings_do_not_continue_a_store(tmp_path, change, message):
    settings = {"identity": IDENTITY, "image_ids": IDS, "dtype": "float32"}
    with FeatureWriter(tmp_path, **settings) as writer:
        writer.write(features(2))
    with pytest.raises(InputError, match=rf"holds other features: {message}.*Choose another folder, or delete"):
        FeatureWriter(tmp_path, **settings | change)


def test_tuples_in_an_identity_are_lists(tmp_path):
    write(tmp_path)
    same = IDENTITY | {"transform": {"size": (4, 4)}}
    assert FeatureWriter(tmp_path, same, IDS, dtype="float32").remaining == []
    FeatureStore(tmp_path).check(same, IDS)


def test_files_of_something_else_are_not_overwritten(tmp_path):
    np.save(tmp_path / "pooled.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"holds .npy files and no manifest.json; choose an empty folder"):
        FeatureWriter(tmp_path, IDENTITY, IDS)


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(InputError, match="dtype='int8' of features, expected float16 or float32"):
        FeatureWriter(tmp_path, IDENTITY, IDS, dtype="int8")


@pytest.mark.parametrize(
    ("value", "message"),
    [(1e5, "are too large for float16; use dtype=float32"), (float("nan"), "are not finite")],
)
def test_values_that_do_not_fit_are_refused(tmp_path, value, message):
    rows = features(4)
    rows.grid[2:, 1, 1] = value
    with (
        FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float16") as writer,
        pytest.raises(InputError, match=f"features of 2 of a batch of 4 images, the first 'b.jpg', {message}"),
    ):
        writer.write(rows)


def test_wrong_use_of_a_writer_is_reported(tmp_path):
    writer = FeatureWriter(tmp_path, IDENTITY, IDS)
    with pytest.raises(ValueError, match="features of 6 images for a store of 5"):
        writer.write(features(6))
    writer.write(features(1))
    with pytest.raises(ValueError, match="features of other shapes than before"):
        writer.write(features(1, grid=False))


def test_full_disk_is_reported_and_leaves_no_half_store(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device \(\d+.\d GB are left\). Choose"):
        write(tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    monkeypatch.undo()
    assert len(FeatureStore(write(tmp_path, dtype="float16"))) == len(IDS)  # another dtype may be tried at once


def test_room_is_claimed_before_it_is_needed(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, list(range(100_000)), dtype="float32") as writer:
        writer.write(features(1, grid=False))
    assert (tmp_path / "pooled.npy").stat().st_blocks * 512 >= 100_000 * 3 * 4


def test_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/train cannot be written: Not a directory"):
        write(tmp_path / "file" / "train")


def test_folder_that_is_not_ours_is_reported(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"cannot be written: Permission denied. Choose a writable folder"):
        write(tmp_path / "train")


def test_unfinished_store_is_not_read(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, IDS) as writer:
        writer.write(features(2))
    with pytest.raises(InputError, match=r"features of 2 of 5 images: `captioning extract` was interrupted. Run it"):
        FeatureStore(tmp_path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replace_by_objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "cannot be read .*No such file"),
        (cut, "cannot be read .*mmap length is greater than file size"),
        (lengthen, r"is damaged: it holds float32 \(5, 2, 3\) in 249 bytes, and manifest.json says"),
        (lambda path: path.write_bytes(b"not numpy"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (replace_by_objects, "cannot be read .*Array can't be memory-mapped: Python objects"),
        (lambda path: np.save(path, np.zeros((5, 2, 3), np.float16)), r"is damaged: it holds float16 \(5, 2, 3\) in"),
        (lambda path: np.save(path, np.zeros((4, 2, 3), np.float32)), r"is damaged: it holds float32 \(4, 2, 3\) in"),
    ],
)
def test_damaged_array_is_refused(tmp_path, damage, message):
    write(tmp_path)
    damage(tmp_path / "grid.npy")
    with pytest.raises(InputError, match=rf"grid.npy {message}.*delete {tmp_path} and make it with"):
        FeatureStore(tmp_path)


# ---- checking ---------------------------------------------------------------------------------------------------


def test_check_accepts_the_same_encoder_and_any_of_its_images(tmp_path):
    store = FeatureStore(write(tmp_path))
    store.check(IDENTITY, IDS)
    store.check(IDENTITY, ["b.jpg", 13])


def test_check_reports_all_differences_and_the_command(tmp_path):
    store = FeatureStore(write(tmp_path / "train"))
    other = IDENTITY | {"model": "resnet18", "weights": "1" * 64, "transform": {"size": [8, 8]}}
    with pytest.raises(InputError) as error:
        store.check(other, IDS)
    assert str(error.value) == (
        f"{tmp_path}/train holds features of another encoder: model is 'small_cnn' there and 'resnet18' here; "
        "transform.size is [4, 4] there and [8, 8] here; weights is '00000000000... there and '11111111111... here. "
        "Set the same encoder, or choose another folder and make it with "
        f"`captioning extract features={tmp_path}` and the settings of data and encoder"
    )


def test_missing_images_are_counted_and_a_few_given(tmp_path):
    store = FeatureStore(write(tmp_path))
    message = (
        r"lacks 4 of 6 images \('c', 8, 9, ...\); it holds 5 \('a.jpg', 13, 'b.jpg', ...\). Choose .* make it with"
    )
    for ask in (store.features, lambda ids: store.check(IDENTITY, ids)):
        with pytest.raises(InputError, match=message):
            ask(["c", 13, 8, 9, 10, "b.jpg"])


# ---- workers ----------------------------------------------------------------------------------------------------


def test_pickled_store_is_small_and_reads_the_same(tmp_path):
    ids = list(range(5000))
    store = FeatureStore(write(tmp_path, ids=ids, rows=features(5000)))
    store.features([1])
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    assert_equal(pickle.loads(pickled).features(ids[::7]), store.features(ids[::7]))


class Batches(Dataset[torch.Tensor]):
    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.store.features(IDS[row::2]).pooled


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader_read_the_store(tmp_path, method):
    loader = DataLoader(
        Batches(FeatureStore(write(tmp_path))), batch_size=None, num_workers=2, multiprocessing_context=method
    )
    first, second = loader
    assert torch.equal(first, features().pooled[0::2])
    assert torch.equal(second, features().pooled[1::2])
